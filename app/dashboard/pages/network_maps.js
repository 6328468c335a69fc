// Maps side by side, each with its filter where it has one. A press on a map, or Enter, chooses it.
export default {
  props: { title: String, maps: Object, filters: Object },
  emits: ["choose"],
  template: `
    <div class="maps" role="group" :aria-label="title" :style="{ '--side': side + 'px' }">
      <button v-for="(number, place) in maps.numbers" :key="number" type="button" class="map"
              :aria-label="title + ' ' + number + ': enlarge'" @click="$emit('choose', number)">
        <span class="map-number">{{ number }}</span>
        <span v-if="filters && at(filters, number) >= 0" class="cut" :style="cut(filters, at(filters, number), 44)"></span>
        <span class="cut" :style="cut(maps, place, side)"></span>
      </button>
    </div>`,
  computed: {
    // Few maps can be large.
    side() {
      const many = this.maps.numbers.length;
      return many <= 2 ? 256 : many <= 16 ? 128 : many <= 64 ? 96 : 64;
    },
  },
  methods: {
    at: (sheet, number) => sheet.numbers.indexOf(number),
    // One map out of the sheet, its longer side `side` CSS pixels.
    cut(sheet, place, side) {
      const scale = side / Math.max(sheet.cell_width, sheet.cell_height);
      const x = (place % sheet.columns) * (sheet.cell_width + sheet.gap);
      const y = Math.floor(place / sheet.columns) * (sheet.cell_height + sheet.gap);
      return {
        width: sheet.cell_width * scale + "px",
        height: sheet.cell_height * scale + "px",
        backgroundImage: `url(${sheet.source})`,
        backgroundSize: sheet.width * scale + "px " + sheet.height * scale + "px",
        backgroundPosition: -x * scale + "px " + -y * scale + "px",
      };
    },
  },
};
