// One map large, with its filter, and beside it the tile: the cell under the pointer and the pixels that it sees.
// Sides in CSS pixels; how many pixels a side can be read as numbers; the grey above which black reads better than white.
const LARGE = 448, FILTER = 132, READABLE = 12, MIDDLE = 117;

export default {
  props: { look: Object },
  template: `
    <div v-if="look" class="close-up">
      <figure>
        <div class="large" tabindex="0" role="application" :aria-label="'Map ' + look.number + '. Arrow keys move the cell.'"
             @pointermove="point" @click="point" @keydown="key" :style="size(map)">
          <canvas ref="map"></canvas>
          <span class="mark cell" :style="box(cell.x, cell.y, 1, 1, map.columns, map.rows)"></span>
        </div>
        <figcaption>Map {{ look.number }} of {{ look.layer }}, {{ map.rows }} × {{ map.columns }} cells.
          Point at a cell, or move with the arrow keys.</figcaption>
      </figure>
      <figure>
        <div class="large" :style="size({ rows: look.tile.size, columns: look.tile.size })">
          <canvas ref="tile"></canvas>
          <span class="mark" :style="box(seen.x, seen.y, seen.width, seen.height, look.tile.size, look.tile.size)"></span>
        </div>
        <figcaption>The tile, and on it what that cell sees.</figcaption>
      </figure>
      <div class="close-words">
        <figure v-if="look.filters">
          <div class="small-cut" :style="filterSize"><canvas ref="filter"></canvas></div>
          <figcaption>Its filter: what it looks for{{ look.inputs > 1 ? ", added up over the " + look.inputs + " maps that come in" : "" }}.
            Orange wants bright, blue wants dark.</figcaption>
        </figure>
        <p role="status" class="seen">Cell row {{ cell.y }}, column {{ cell.x }} sees
          <strong>rows {{ seen.y }} to {{ seen.y + seen.height - 1 }}, columns {{ seen.x }} to {{ seen.x + seen.width - 1 }}</strong>
          of the tile: {{ seen.height }} × {{ seen.width }} pixels{{ clipped }}.</p>
        <div v-if="numbers" class="seen-numbers">
          <table class="pixel-grid"><tr v-for="row in numbers"><td v-for="value in row" :style="grey(value)">{{ value }}</td></tr></table>
        </div>
      </div>
    </div>`,
  data: () => ({ cell: { x: 0, y: 0 } }),
  computed: {
    map() {
      return { rows: this.look.shape[0], columns: this.look.shape[1] };
    },
    seen() {
      const [y, height] = this.span(this.look.reach.down, this.cell.y);
      const [x, width] = this.span(this.look.reach.across, this.cell.x);
      return { x, y, width, height };
    },
    clipped() {
      const { down, across } = this.look.reach;
      return this.seen.height < down.field || this.seen.width < across.field ? "; past the edge it reads padding" : "";
    },
    numbers() {
      const values = this.look.values;
      if (!values || this.seen.width > READABLE || this.seen.height > READABLE) return null;
      return values.slice(this.seen.y, this.seen.y + this.seen.height).map((row) => row.slice(this.seen.x, this.seen.x + this.seen.width));
    },
    filterSize() {
      const sheet = this.look.filters;
      const scale = FILTER / Math.max(sheet.cell_width, sheet.cell_height);
      return { width: sheet.cell_width * scale + "px", height: sheet.cell_height * scale + "px" };
    },
  },
  watch: { look: { handler: "show", immediate: false } },
  mounted() {
    this.show();
  },
  methods: {
    show() {
      if (!this.look) return;
      this.cell = { x: Math.floor(this.map.columns / 2), y: Math.floor(this.map.rows / 2) };
      this.$nextTick(() => {
        this.paint(this.$refs.map, this.look.maps, this.look.number);
        this.paint(this.$refs.tile, this.look.tile.sheet, 0);
        if (this.look.filters) this.paint(this.$refs.filter, this.look.filters, this.look.number);
      });
    },
    // One map of a sheet, value for value, on a canvas of its own size: the browser enlarges it without blurring.
    paint(canvas, sheet, number) {
      const place = sheet.numbers.indexOf(number);
      if (!canvas || place < 0) return;
      const image = new Image();
      image.onload = () => {
        canvas.width = sheet.cell_width;
        canvas.height = sheet.cell_height;
        const x = (place % sheet.columns) * (sheet.cell_width + sheet.gap);
        const y = Math.floor(place / sheet.columns) * (sheet.cell_height + sheet.gap);
        canvas.getContext("2d").drawImage(image, x, y, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
      };
      image.src = sheet.source;
    },
    // First pixel and how many, of a cell along one axis; what lies past the tile's edge is padding.
    span(axis, cell) {
      const first = Math.round(axis.first + axis.step * cell - (axis.field - 1) / 2);
      const from = Math.max(0, first);
      return [from, Math.max(1, Math.min(this.look.tile.size, first + axis.field) - from)];
    },
    size({ rows, columns }) {
      const scale = LARGE / Math.max(rows, columns);
      return { width: `min(${columns * scale}px, 42vw)`, aspectRatio: columns + " / " + rows };
    },
    box: (x, y, width, height, columns, rows) => ({
      left: (100 * x) / columns + "%",
      top: (100 * y) / rows + "%",
      width: (100 * width) / columns + "%",
      height: (100 * height) / rows + "%",
    }),
    point(event) {
      const frame = event.currentTarget.getBoundingClientRect();
      this.move(
        Math.floor(((event.clientX - frame.left) / frame.width) * this.map.columns),
        Math.floor(((event.clientY - frame.top) / frame.height) * this.map.rows),
      );
    },
    key(event) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.move(this.cell.x + step[0], this.cell.y + step[1]);
    },
    move(x, y) {
      const within = (value, count) => Math.min(count - 1, Math.max(0, value));
      this.cell = { x: within(x, this.map.columns), y: within(y, this.map.rows) };
    },
    grey: (value) => ({ background: `rgb(${value},${value},${value})`, color: value > MIDDLE ? "#000" : "#fff" }),
  },
};
