// The strip from above: rolling direction from left to right, a lane for each side, events and gaps in place.
// Along and across have scales of their own (a strip is a thousand times as long as wide); both are written at the edge.
// Shapes and colours of classes are those of the report, by name.
const SHAPES = {
  circle: "M0-7A7 7 0 1 1 0 7A7 7 0 1 1 0-7Z", square: "M-6-6H6V6H-6Z", triangle: "M0-8L7.5 6H-7.5Z",
  diamond: "M0-8L8 0L0 8L-8 0Z", plus: "M-2.5-7H2.5V-2.5H7V2.5H2.5V7H-2.5V2.5H-7V-2.5H-2.5Z", wedge: "M-7.5-6H7.5L0 8Z",
  hourglass: "M-6.5-6.5H6.5L-6.5 6.5H6.5Z", bar: "M-3-8H3V8H-3Z", flag: "M-7-3.5H0V-7L7 0L0 7V3.5H-7Z",
};
const TOP = 24, BOTTOM = 12, RULER = 28, PER_CAMERA = 40, LEAST = 100;
const UNNAMED = "no class";
const LEAST_SPAN_MM = 200;
const CROWD = 200;

export default {
  props: { map: Object },
  template: `
    <div class="strip">
      <p v-if="!placed" class="muted">No frame of this coil said where on the strip it was (position_mm and mm_per_pixel), so that
        there is no map.</p>
      <template v-else>
        <div class="row-of">
          <button type="button" class="button" @click="zoom(0.5)" aria-label="Zoom in">+ Closer</button>
          <button type="button" class="button" @click="zoom(2)" aria-label="Zoom out">− Farther</button>
          <button type="button" class="button" @click="pan(-0.5)" aria-label="Towards the start">◀</button>
          <button type="button" class="button" @click="pan(0.5)" aria-label="Towards the end">▶</button>
          <button type="button" class="button" @click="whole">Whole coil</button>
          <span class="muted strip-span">{{ metres(Math.max(from, map.first_mm)) }} to {{ metres(Math.min(to, map.last_mm)) }}</span>
        </div>
        <svg ref="svg" class="strip-map" :height="height" role="group" tabindex="0" :aria-label="spoken"
          @wheel.prevent="wheeled" @pointerdown="grabbed" @pointermove="dragged" @pointerup="released" @pointercancel="letGo"
          @keydown.left.prevent="pan(-0.2)" @keydown.right.prevent="pan(0.2)" @keydown="keyed">
          <defs>
            <pattern id="gap-hatch" width="10" height="10" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect width="10" height="10" class="strip-gap-ground"/><rect width="4" height="10" class="strip-gap-line"/>
            </pattern>
          </defs>
          <g v-for="lane in lanes" :key="lane.name" :transform="'translate(0,' + lane.y + ')'">
            <text x="4" y="15" class="strip-label"><tspan font-weight="700">{{ lane.name }}</tspan> · {{ Math.round(lane.side.width_mm) }} mm across</text>
            <rect :x="x(map.first_mm)" y="${TOP}" :width="Math.max(1, x(map.last_mm) - x(map.first_mm))" :height="lane.high" class="strip-seen"/>
            <template v-for="(camera, index) in lane.side.cameras" :key="index">
              <line v-if="index" x1="0" :x2="width" :y1="lane.at(camera.across_mm)" :y2="lane.at(camera.across_mm)" class="strip-border"/>
            </template>
            <g v-for="(gap, index) in lane.gaps" :key="'g' + index">
              <rect v-if="x(gap.to_mm) > 0 && x(gap.from_mm) < width" :x="x(gap.from_mm)" :y="gap.y" :height="gap.high"
                :width="Math.max(4, x(gap.to_mm) - x(gap.from_mm))" fill="url(#gap-hatch)" class="strip-gap">
                <title>Not inspected, {{ metres(gap.from_mm) }} to {{ metres(gap.to_mm) }}: {{ gap.why }}</title>
              </rect>
            </g>
            <line v-for="(repeat, index) in lane.side.periodic" :key="'p' + index" class="strip-repeat"
              :x1="x(repeat.first_mm)" :x2="x(repeat.last_mm)" :y1="lane.at(repeat.across_mm)" :y2="lane.at(repeat.across_mm)">
              <title>Every {{ Math.round(repeat.interval_mm) }} mm, {{ repeat.repeats }} times</title>
            </line>
          </g>
          <g v-for="mark in marks" :key="mark.event.event" class="strip-event" @pointerup="picked = mark.event">
            <rect v-if="mark.w > 16" :x="mark.x - mark.w / 2" :y="mark.y - Math.max(6, mark.h) / 2" :width="mark.w" :height="Math.max(6, mark.h)" fill="none" :stroke="mark.look.colour" stroke-width="2"/>
            <circle :cx="mark.x" :cy="mark.y" r="14" fill="transparent"/>
            <path :d="shape(mark.look)" :transform="'translate(' + mark.x + ',' + mark.y + ') scale(' + size + ')'" :style="paint(mark.look)" class="strip-mark"/>
            <title>{{ mark.event.defect_class || "${UNNAMED}" }} ({{ mark.event.severity }}), {{ mark.event.defect_probability.toFixed(2) }}, at {{ metres(mark.event.along_mm) }}</title>
          </g>
          <g v-for="lane in lanes" :key="'n' + lane.name" :transform="'translate(0,' + lane.y + ')'" class="strip-names">
            <text v-for="(camera, index) in lane.side.cameras" :key="index" x="6" :y="lane.at(camera.across_mm) + 14">{{ camera.camera_id || "camera unknown" }}</text>
            <template v-for="(repeat, index) in lane.side.periodic" :key="'r' + index">
              <text v-if="repeat.rolls.length" :x="Math.max(6, x(repeat.first_mm)) + 100" :y="lane.at(repeat.across_mm) - 10">every {{ Math.round(repeat.interval_mm) }} mm: {{ repeat.rolls[0].name }}</text>
            </template>
          </g>
          <g v-for="tick in ticks" :key="tick" :transform="'translate(' + x(tick) + ',' + (height - ${RULER}) + ')'">
            <line y2="7" class="strip-tick"/>
            <text y="21" :text-anchor="x(tick) < 24 ? 'start' : x(tick) > width - 30 ? 'end' : 'middle'" class="strip-label">{{ tickWords(tick) }}</text>
          </g>
        </svg>
        <div class="row-of strip-legend">
          <button v-for="one in classes" :key="one.name" type="button" class="plain" :aria-pressed="!hidden[one.name]" @click="hidden[one.name] = !hidden[one.name]">
            <svg width="18" height="18" viewBox="-9 -9 18 18" aria-hidden="true"><path :d="shape(one)" :style="paint(one)" class="strip-mark"/></svg>
            {{ one.name }} {{ one.count }}{{ hidden[one.name] ? " (hidden)" : "" }}
          </button>
          <span v-if="!classes.length" class="muted">No event on this strip.</span>
          <span class="strip-key"><i class="key-gap"></i> not inspected</span>
        </div>
      </template>
      <p v-for="note in map.notes" :key="note" class="muted">{{ note[0].toUpperCase() + note.slice(1) }}.</p>
    </div>`,
  data: () => ({ width: 900, from: 0, to: 1, hidden: {}, grab: null, picked: null }),
  created() {
    this.whole();
  },
  mounted() {
    if (!this.$refs.svg) return;
    this.watcher = new ResizeObserver(([entry]) => (this.width = Math.max(200, entry.contentRect.width)));
    this.watcher.observe(this.$refs.svg);
  },
  unmounted() {
    this.watcher?.disconnect();
  },
  computed: {
    placed() {
      return this.map.last_mm > this.map.first_mm;
    },
    lanes() {
      let y = 0;
      return this.map.sides.map((side) => {
        const high = Math.max(LEAST, side.cameras.length * PER_CAMERA);
        const at = (mm) => TOP + Math.min(1, Math.max(0, mm / side.width_mm)) * high;
        const places = new Map(side.cameras.map((camera) => [camera.camera_id, camera]));
        const gaps = side.gaps.map((gap) => {
          const camera = places.get(gap.camera_id);
          const top = camera ? at(camera.across_mm) : TOP;
          return { ...gap, y: top, high: (camera ? at(camera.across_mm + camera.width_mm) : TOP + high) - top };
        });
        const lane = { side, name: side.side || "side unknown", y, high, at, gaps };
        y += TOP + high + BOTTOM;
        return lane;
      });
    },
    height() {
      return this.lanes.reduce((sum, lane) => sum + TOP + lane.high + BOTTOM, RULER);
    },
    looks() {
      return new Map(this.map.defect_classes.map((look) => [look.defect_class, look]));
    },
    classes() {
      const counts = new Map();
      for (const side of this.map.sides)
        for (const event of side.events) counts.set(event.defect_class, (counts.get(event.defect_class) || 0) + 1);
      return [...counts].map(([name, count]) => ({ ...this.looks.get(name), name: name || UNNAMED, count })).sort((a, b) => b.count - a.count);
    },
    marks() {
      return this.lanes.flatMap((lane) =>
        lane.side.events.flatMap((event) => {
          const x = this.x(event.along_mm), w = this.scale * (event.length_mm || 0);
          if (this.hidden[event.defect_class || UNNAMED] || x + w / 2 < -10 || x - w / 2 > this.width + 10) return [];
          const h = ((event.width_mm || 0) / lane.side.width_mm) * lane.high;
          return [{ event, x, w, y: lane.y + lane.at(event.across_mm), h, look: this.looks.get(event.defect_class) }];
        }),
      );
    },
    // Many marks beside each other are told apart only if they are small.
    size() {
      return this.marks.length > CROWD ? 0.6 : 1;
    },
    scale() {
      return this.width / (this.to - this.from);
    },
    ticks() {
      const rough = (this.to - this.from) / Math.max(2, this.width / 110);
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
      const ticks = [];
      for (let tick = Math.ceil(this.from / step) * step; tick <= this.to; tick += step) ticks.push(tick);
      return ticks;
    },
    room() {
      return Math.max(50, (this.map.last_mm - this.map.first_mm) * 0.01);
    },
    spoken() {
      return `Map of the strip, ${this.metres(this.from)} to ${this.metres(this.to)}, ${this.marks.length} events. ` +
        "Arrow keys move, plus and minus zoom; the same events stand below as a gallery.";
    },
  },
  methods: {
    shape: (look) => SHAPES[look.shape] || SHAPES.circle,
    // What no class was told of is a ring, as in the report.
    paint: (look) => (look.shape === "ring" ? { fill: "#fff", stroke: look.colour, strokeWidth: 2.5 } : { fill: look.colour }),
    x(mm) {
      return (mm - this.from) * this.scale;
    },
    metres(mm) {
      return `${(mm / 1000).toFixed(this.to - this.from < 20000 ? 2 : 1)} m`;
    },
    tickWords(mm) {
      const span = this.to - this.from;
      return `${+(mm / 1000).toFixed(span < 2000 ? 3 : span < 20000 ? 1 : 0)} m`;
    },
    whole() {
      Object.assign(this, { from: this.map.first_mm - this.room, to: this.map.last_mm + this.room });
    },
    zoom(factor, at = 0.5) {
      const most = this.map.last_mm - this.map.first_mm + 2 * this.room;
      const span = Math.min(most, Math.max((this.to - this.from) * factor, LEAST_SPAN_MM));
      this.move(this.from + at * (this.to - this.from - span), span);
    },
    pan(share) {
      const span = this.to - this.from;
      this.move(this.from + share * span, span);
    },
    move(from, span) {
      this.from = Math.max(this.map.first_mm - this.room, Math.min(from, this.map.last_mm + this.room - span));
      this.to = this.from + span;
    },
    wheeled(event) {
      const at = (event.clientX - this.$refs.svg.getBoundingClientRect().left) / this.width;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan((event.deltaX || event.deltaY) / 1000);
      else this.zoom(event.deltaY > 0 ? 1.25 : 0.8, at);
    },
    keyed(event) {
      if (event.key === "+") this.zoom(0.5);
      if (event.key === "-") this.zoom(2);
    },
    grabbed(event) {
      this.picked = null;
      this.grab = { x: event.clientX, from: this.from, moved: false };
    },
    dragged(event) {
      if (!this.grab) return;
      const moved = event.clientX - this.grab.x;
      if (!this.grab.moved && Math.abs(moved) > 5) {
        this.grab.moved = true;
        this.$refs.svg.setPointerCapture(event.pointerId);
      }
      if (this.grab.moved) this.move(this.grab.from - moved / this.scale, this.to - this.from);
    },
    released() {
      if (this.grab && !this.grab.moved && this.picked) this.$emit("pick", this.picked);
      this.letGo();
    },
    letGo() {
      this.grab = this.picked = null;
    },
  },
};
