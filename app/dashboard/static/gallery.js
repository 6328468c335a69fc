// Events as crops of their frames, worst first; one of them large, with its frame around it.
const CROP = { width: 220, height: 150 };
const AT_ONCE = 12;
const part = (id, name) => `/picture/v1/inspections/${id}/${name}`;

export default {
  props: { events: Array, wanted: Object },
  template: `
    <div class="gallery">
      <p v-if="!events.length" class="muted">No event on this coil.</p>
      <div class="gallery-cards">
        <button v-for="event in events.slice(0, shown)" :key="event.event" type="button" class="crop" @click="open(event.event)">
          <span class="crop-window" :style="{ height: '${CROP.height}px' }">
            <img v-if="!gone(event)" loading="lazy" :src="image(event)" alt="" :style="crop(event)"
              @load="measured(event, $event)" @error="unshown(event, $event)">
            <span v-else class="crop-none">no image kept</span>
          </span>
          <span class="crop-words">
            <strong>{{ event.defect_class || "no class" }}</strong>
            <span>{{ event.defect_probability.toFixed(3) }}{{ event.severity ? " · " + event.severity : "" }}</span>
            <span v-if="event.review === 'ok'">called good by a person</span>
            <span class="muted">{{ where(event) }}</span>
          </span>
        </button>
      </div>
      <button v-if="events.length > shown" type="button" class="button" @click="shown += ${AT_ONCE}">Show {{ Math.min(${AT_ONCE}, events.length - shown) }} more of {{ events.length }}</button>
      <dialog ref="dialog" class="event-dialog" @close="current = null" @click.self="$refs.dialog.close()" @keydown.left="step(-1)" @keydown.right="step(1)" aria-label="Event">
        <template v-if="current">
          <header class="row-of">
            <h2 class="panel-title">{{ current.defect_class || "Event without class" }}, probability {{ current.defect_probability.toFixed(3) }}</h2>
            <span class="fill"></span>
            <button type="button" class="button" @click="step(-1)" :disabled="at <= 0" aria-label="Worse event">◀</button>
            <button type="button" class="button" @click="step(1)" :disabled="at < 0 || at >= events.length - 1" aria-label="Next event">▶</button>
            <button type="button" class="button" @click="heat = !heat" :aria-pressed="heat">{{ heat ? "Show the image" : "Show the heat map" }}</button>
            <button type="button" class="button" @click="$refs.dialog.close()">Close</button>
          </header>
          <div class="event-frame">
            <div v-if="!unseen" class="event-picture">
              <img :key="picture" :src="picture" :alt="heat ? 'Heat map of the frame' : 'The frame'" @load="framed" @error="heat ? (failed = true) : unshown(current, $event)">
              <span v-if="size && !heat" class="event-box" :style="box"></span>
            </div>
            <p v-else-if="heat" class="muted">There is no heat map: no image of this frame is kept, or the version that judged it
              cannot score it now.</p>
            <p v-else class="muted">No image of this frame is kept.</p>
          </div>
          <dl class="facts">
            <dt>Place</dt><dd>{{ where(current) }}</dd>
            <dt>Size</dt><dd>{{ extent }}</dd>
            <dt>Camera</dt><dd>{{ current.camera_id || "unknown" }}{{ current.side ? ", " + current.side : "" }}</dd>
            <dt v-if="current.review">A person said</dt><dd v-if="current.review">{{ current.review === "ok" ? "✓ OK" : "✕ Defect" }}</dd>
            <dt v-if="current.severity">Severity</dt><dd v-if="current.severity">{{ current.severity }}</dd>
            <dt>Frame</dt><dd><code>{{ current.inspection_id }}</code> <a :href="'/network?inspection=' + current.inspection_id">what the network saw</a></dd>
          </dl>
        </template>
      </dialog>
    </div>`,
  data: () => ({ shown: AT_ONCE, current: null, heat: false, size: null, failed: false, sizes: {}, broken: {} }),
  mounted() {
    if (this.wanted) this.open(this.wanted.event, this.wanted);
  },
  computed: {
    at() {
      return this.events.findIndex((event) => event.event === this.current.event);
    },
    picture() {
      return this.heat ? part(this.current.inspection_id, "heatmap.png") : this.image(this.current);
    },
    unseen() {
      return this.heat ? this.failed : this.gone(this.current);
    },
    extent() {
      const { width, height, width_mm, length_mm } = this.current;
      const mm = width_mm !== null && length_mm !== null ? `, ${width_mm.toFixed(0)} mm across, ${length_mm.toFixed(0)} mm along` : "";
      return `${width} × ${height} pixels${mm}`;
    },
    box() {
      const { x, y, width, height } = this.current, [w, h] = this.size;
      return { left: `${(100 * x) / w}%`, top: `${(100 * y) / h}%`, width: `${(100 * width) / w}%`, height: `${(100 * height) / h}%` };
    },
  },
  methods: {
    // Of a format that browsers do not show (TIFF) the API has the pixels in one that they do.
    image(event) {
      return part(event.inspection_id, this.broken[event.inspection_id] ? "image?format=png" : "image");
    },
    unshown(event, failed) {
      this.broken[event.inspection_id] = failed.target.src.endsWith("format=png") ? "gone" : "converted";
    },
    gone(event) {
      return this.broken[event.inspection_id] === "gone";
    },
    where(event) {
      const along = event.position_mm === null ? "position unknown" : `at ${(event.position_mm / 1000).toFixed(2)} m`;
      return along + (event.across_mm === null ? "" : `, ${event.across_mm.toFixed(0)} mm across`);
    },
    measured(event, loaded) {
      this.sizes[event.inspection_id] = [loaded.target.naturalWidth, loaded.target.naturalHeight];
    },
    // The event with half its size around it, scaled to the window, and no empty corner where the frame is large enough.
    crop(event) {
      const size = this.sizes[event.inspection_id];
      if (!size) return { visibility: "hidden" };
      const [w, h] = size;
      const fill = Math.max(CROP.width / w, CROP.height / h);
      const scale = Math.min(4, Math.max(fill, Math.min(CROP.width / (event.width * 1.6), CROP.height / (event.height * 1.6))));
      const place = (centre, window, whole) => Math.min(0, Math.max(window - whole, window / 2 - centre));
      const left = place((event.x + event.width / 2) * scale, CROP.width, w * scale);
      const top = place((event.y + event.height / 2) * scale, CROP.height, h * scale);
      return { width: `${w * scale}px`, height: `${h * scale}px`, transform: `translate(${left}px, ${top}px)` };
    },
    // Of the map, where there are more than here: the event, and the box that the desk has found for it.
    open(number, found = null) {
      const event = this.events.find((each) => each.event === number) || found;
      if (!event) return;
      this.show(event);
      if (!this.$refs.dialog.open) this.$refs.dialog.showModal();
    },
    show(event) {
      if (this.current?.inspection_id !== event.inspection_id) this.size = null;
      Object.assign(this, { current: event, heat: false, failed: false });
      this.size = this.sizes[event.inspection_id] || this.size;
    },
    step(by) {
      const event = this.events[this.at + by];
      if (event) this.show(event);
    },
    framed(loaded) {
      this.size = [loaded.target.naturalWidth, loaded.target.naturalHeight];
    },
  },
  watch: {
    heat() {
      this.failed = false;
    },
  },
};
