// Review: one frame at a time. What is decided is shown as decided at once and recorded behind it.
const WHY = {
  near_threshold: ["Near a threshold", "Its probability lies close to a threshold: your answer tells most here."],
  shadow: ["The shadow disagrees", "The model in the shadow judged this frame otherwise."],
  sample: ["Random sample", "Drawn at random, whatever its verdict: escapes and false calls are estimated from these."],
};
const WORDS = { ok: "OK", review: "Review", defect: "Defect" };
const SYMBOLS = { ok: "✓", review: "?", defect: "✕" };
const AHEAD = 20, FETCH_BELOW = 10, EMPTY_AGAIN_MS = 3000;
// The largest page of the API's queue, which begins anew with what nobody has decided.
const MOST_KNOWN = 200;
// By this the desk's gate knows what is no sign of a person: a page that looks by itself must not keep a session open.
const BY_TIMER = "steelsight-timer";
// Pixels of the frame.
const SMALLEST_BOX = 3;
// Decisions of which it is not known that they were recorded: a page that is loaded anew sends them again.
const UNSAVED = "steelsight-unsaved-reviews", REVIEWER = "steelsight-reviewer", BLIND = "steelsight-blind";
const stored = (store, name, otherwise) => {
  try {
    return JSON.parse(store.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
};

export default {
  props: { entries: Array, waiting: Number, classes: Array, person: String },
  template: `
    <div class="review">
      <form v-if="!reviewer" class="panel review-who" @submit.prevent="name">
        <h1 class="heading">Review</h1>
        <label for="reviewer">Your name. It stands beside each of your decisions.</label>
        <div class="row-of">
          <input id="reviewer" ref="who" class="field" maxlength="128" autocomplete="name" required>
          <button type="submit" class="button primary">Begin</button>
        </div>
      </form>
      <template v-else>
        <header class="review-head">
          <span class="review-count"><b>{{ done }}</b> done</span>
          <span class="review-count"><b>{{ left }}</b> waiting</span>
          <span v-if="saving" class="muted" role="status">recording {{ saving }}…</span>
          <span class="fill"></span>
          <button type="button" class="button" :aria-pressed="blind" @click="setBlind">{{ blind ? "☒" : "☐" }} Blind: hide the model until decided</button>
          <span class="muted">{{ reviewer }}</span>
          <button v-if="!person" type="button" class="plain" @click="rename">Change</button>
        </header>
        <div v-for="one in failures" :key="one.act + one.reason" class="note" role="alert">
          {{ one.count === 1 ? "A decision was" : one.count + " decisions were" }}
          {{ one.act === "undo" ? "not taken back" : "not recorded" }}: {{ one.reason }}
          {{ one.act === "undo" ? "" : one.count === 1 ? "The frame is back in the queue." : "The frames are back in the queue." }}
          <button type="button" class="plain" @click="failures = failures.filter((each) => each !== one)">Understood</button>
        </div>
        <div v-if="lost" class="note" role="alert">No more frames came: {{ lost }} It is asked again by itself.</div>

        <div v-if="!current" class="state">
          <template v-if="skipped">
            <span class="state-symbol" aria-hidden="true">○</span>
            <h2 class="state-title">{{ skipped === 1 ? "You passed over a frame" : "You passed over " + skipped + " frames" }}</h2>
            <p class="state-advice">They wait until somebody decides them. This page looks for others every few seconds; what is
              behind the first ${MOST_KNOWN} of the queue comes once some of these are decided.</p>
            <button type="button" class="button" @click="at = 0; go(firstSkipped)">Back to the first of them</button>
          </template>
          <h2 v-else-if="left" class="state-title">The next frames are being fetched…</h2>
          <template v-else>
            <span class="state-symbol" aria-hidden="true">✓</span>
            <h2 class="state-title">{{ done ? "All done" : "Nothing waits for review" }}</h2>
            <p class="state-advice">Frames come here when their probability lies near a threshold, when a shadow disagrees, or by
              random sample. This page looks again every few seconds.</p>
          </template>
          <button v-if="items.length" type="button" class="button" @click="go(-1)"><kbd>←</kbd> Back to the last one</button>
        </div>
        <section v-else class="review-work">
          <div class="review-stage">
            <div class="review-frame" :style="frameStyle" @pointerdown="beginBox" @pointermove="drawBox" @pointerup="endBox" @pointercancel="endBox">
              <img v-if="!current.failed" :src="picture" alt="The frame to be judged" draggable="false" @error="unshown">
              <p v-else class="review-none">No image of this frame can be shown.</p>
              <template v-if="boxes && !current.failed && !hides">
                <span v-for="(event, index) in current.row.events" :key="index" class="review-box" :style="boxStyle(event)">
                  <small :class="{ within: event.y + event.height > 0.9 * current.row.height }">{{ event.defect_class || "" }} {{ event.defect_probability.toFixed(2) }}</small>
                </span>
              </template>
              <span v-if="current.drawn" class="review-drawn" :style="boxStyle(current.drawn)"><small>your box</small></span>
            </div>
          </div>
          <aside class="review-facts panel">
            <div class="row-of" aria-live="polite">
              <span v-if="current.decision" class="verdict" :class="'verdict-' + current.decision.label">
                {{ mark(current.decision.label) }}{{ current.decision.defect_class ? " · " + current.decision.defect_class : "" }}</span>
              <span v-else class="verdict">Not decided</span>
              <span v-if="current.decision" class="muted">by you{{ current.pending ? ", being recorded" : "" }}</span>
            </div>
            <p v-if="current.drawn" class="row-of">Your box goes with a defect.
              <button type="button" class="plain" @click="current.drawn = null"><kbd>Esc</kbd> Remove it</button></p>
            <p v-else-if="!current.failed" class="muted">Drag over the image to mark where a defect is.</p>
            <p v-if="current.heatless" class="muted">There is no heat map: the version that judged this frame cannot score it now.</p>
            <p v-if="!hides"><strong>{{ why[0] }}.</strong> {{ why[1] }}</p>
            <p v-else class="muted">What the model said is hidden until you have decided.</p>
            <dl class="facts">
              <template v-if="!hides">
                <dt>Model's verdict</dt><dd><span class="verdict" :class="'verdict-' + current.row.verdict">{{ mark(current.row.verdict) }}</span></dd>
                <dt>Probability</dt><dd>{{ current.row.defect_probability.toFixed(3) }}</dd>
                <template v-if="current.row.thresholds">
                  <dt>Thresholds</dt><dd>review {{ current.row.thresholds.review.toFixed(3) }}, defect {{ current.row.thresholds.defect.toFixed(3) }}</dd>
                </template>
                <template v-for="one in current.row.shadow || []" :key="one.version">
                  <dt>Shadow</dt><dd>{{ WORDS[one.verdict] }} {{ one.defect_probability.toFixed(3) }}</dd>
                </template>
              </template>
              <dt>Coil</dt><dd>{{ current.row.coil_id || "none" }}</dd>
              <dt>Camera</dt><dd>{{ current.row.camera_id || "unknown" }}{{ current.row.side ? ", " + current.row.side : "" }}</dd>
              <dt>Position</dt><dd>{{ current.row.position_mm === null ? "unknown" : (current.row.position_mm / 1000).toFixed(2) + " m" }}</dd>
              <dt>Frame</dt><dd>{{ current.row.width }} × {{ current.row.height }} pixels</dd>
            </dl>
            <div v-if="!hides && current.row.thresholds" class="scale" role="img" :aria-label="'Probability ' + current.row.defect_probability.toFixed(3)">
              <i class="scale-ok" :style="{ width: 100 * current.row.thresholds.review + '%' }"></i>
              <i class="scale-review" :style="{ width: 100 * (current.row.thresholds.defect - current.row.thresholds.review) + '%' }"></i>
              <i class="scale-defect"></i>
              <b :style="{ left: 100 * current.row.defect_probability + '%' }"></b>
            </div>
          </aside>
        </section>
        <footer class="review-keys" aria-label="Decide">
          <div class="review-keys-main">
            <button type="button" class="button decide decide-ok" :disabled="!current" @click="decide('ok')"><kbd>O</kbd> ✓ OK</button>
            <button type="button" class="button decide decide-defect" :disabled="!current" @click="decide('defect')"><kbd>D</kbd> ✕ Defect</button>
            <button type="button" class="button" :disabled="!decided.length" @click="undo"><kbd>U</kbd> Undo</button>
            <button type="button" class="button" :disabled="at <= 0" @click="go(-1)" aria-label="Frame before"><kbd>←</kbd></button>
            <button type="button" class="button" :disabled="at >= items.length" @click="go(1)" aria-label="Next frame"><kbd>→</kbd></button>
            <button type="button" class="button" :disabled="!current || hides" :aria-pressed="boxes" @click="boxes = !boxes"><kbd>B</kbd> {{ boxes ? "Hide" : "Show" }} boxes</button>
            <button type="button" class="button" :disabled="!current || hides || current.heatless" :aria-pressed="heat" @click="heat = !heat"><kbd>H</kbd> {{ heat ? "Image" : "Heat map" }}</button>
          </div>
          <div v-if="names.length" class="review-keys-classes">
            <span class="muted">Defect of class</span>
            <button v-for="(one, index) in names" :key="one" type="button" class="button" :disabled="!current" @click="decide('defect', one)">
              <kbd v-if="index < 9">{{ index + 1 }}</kbd> {{ one }}</button>
          </div>
          <form class="review-keys-classes" @submit.prevent="decideOther">
            <label for="other-class" class="muted">Another class</label>
            <input id="other-class" ref="other" class="field" maxlength="64">
            <button type="submit" class="button" :disabled="!current">✕ Defect of this class</button>
          </form>
        </footer>
      </template>
    </div>`,
  data: () => ({
    WORDS,
    items: [], at: 0, total: 0, failures: [], lost: null, decided: [], orders: {}, images: new Map(), names: [],
    changes: 0, asked: null, corner: null,
    reviewer: localStorage.getItem(REVIEWER) || "", blind: stored(localStorage, BLIND, false), boxes: true, heat: false,
  }),
  created() {
    if (this.person) this.reviewer = this.person;
    this.names = [...this.classes];
    this.orders = stored(sessionStorage, UNSAVED, {});
    const unsaved = new Set(Object.values(this.orders).map((order) => order.inspection_id));
    this.add(this.entries.filter((row) => !unsaved.has(row.inspection_id)));
    this.total = Math.max(this.items.length, this.waiting - unsaved.size);
  },
  mounted() {
    document.addEventListener("keydown", this.pressed);
    this.timer = setInterval(() => this.current || this.more(BY_TIMER), EMPTY_AGAIN_MS);
    for (const order of Object.values(this.orders)) this.$emit("act", order);
    this.$refs.who?.focus();
  },
  unmounted() {
    document.removeEventListener("keydown", this.pressed);
    clearInterval(this.timer);
  },
  computed: {
    current() {
      return this.items[this.at];
    },
    done() {
      return this.items.filter((item) => item.decision).length;
    },
    left() {
      return Math.max(this.total, this.skipped);
    },
    // Of those at hand; where there is no current one, all of them were passed over.
    skipped() {
      return this.items.filter((item) => !item.decision).length;
    },
    firstSkipped() {
      return this.items.findIndex((item) => !item.decision);
    },
    saving() {
      return Object.keys(this.orders).length;
    },
    hides() {
      return this.blind && !this.current?.decision;
    },
    why() {
      return WHY[this.current.row.why] || ["Queued", "The API gave no reason that this page knows."];
    },
    picture() {
      return this.heat && !this.hides ? this.url(this.current, "heatmap.png") : this.current.url;
    },
    // As large as fits, in the frame's own proportions: the boxes lie on it in per cent.
    frameStyle() {
      const { width, height } = this.current.row;
      return { aspectRatio: `${width} / ${height}`, width: `min(100%, calc(var(--stage) * ${(width / height).toFixed(4)}))` };
    },
  },
  watch: {
    // Vue sets it when the page is told of classes that were not known before.
    classes(now) {
      this.names = [...now];
    },
  },
  methods: {
    mark: (word) => `${SYMBOLS[word]} ${WORDS[word]}`,
    url: (item, name) => `/picture/v1/inspections/${item.row.inspection_id}/${name}`,
    name() {
      const name = this.$refs.who.value.trim();
      if (!name) return;
      localStorage.setItem(REVIEWER, name);
      this.reviewer = name;
    },
    rename() {
      const name = this.reviewer;
      this.reviewer = "";
      this.$nextTick(() => {
        this.$refs.who.value = name;
        this.$refs.who.focus();
      });
    },
    setBlind() {
      this.blind = !this.blind;
      localStorage.setItem(BLIND, JSON.stringify(this.blind));
    },
    boxStyle(event) {
      const { width, height } = this.current.row;
      const share = (pixels, whole) => `${(100 * pixels) / whole}%`;
      return { left: share(event.x, width), top: share(event.y, height), width: share(event.width, width), height: share(event.height, height) };
    },
    // Where a pointer is, in pixels of the frame.
    pixel(event) {
      const { width, height } = this.current.row, area = event.currentTarget.getBoundingClientRect();
      const along = (at, from, span, pixels) => Math.min(pixels, Math.max(0, ((at - from) / span) * pixels));
      return [along(event.clientX, area.left, area.width, width), along(event.clientY, area.top, area.height, height)];
    },
    beginBox(event) {
      if (event.button !== 0 || this.current.failed) return;
      event.currentTarget.setPointerCapture(event.pointerId);
      this.corner = this.pixel(event);
      this.current.drawn = null;
    },
    drawBox(event) {
      if (!this.corner) return;
      const [[x, right], [y, bottom]] = this.pixel(event).map((to, axis) => {
        const [low, high] = [this.corner[axis], to].sort((one, other) => one - other);
        return [Math.floor(low), Math.ceil(high)];
      });
      // A click marks nothing.
      this.current.drawn = right - x >= SMALLEST_BOX && bottom - y >= SMALLEST_BOX ? { x, y, width: right - x, height: bottom - y } : null;
    },
    endBox() {
      this.corner = null;
    },
    add(rows) {
      for (const row of rows) {
        if (this.items.some((item) => item.row.inspection_id === row.inspection_id)) continue;
        const item = { row, decision: null, pending: null, drawn: null, failed: row.has_image === false, heatless: false, url: null };
        item.url = this.url(item, "image");
        this.items.push(item);
      }
      this.prefetch();
    },
    // Kept as decoded elements: showing one of them again asks nobody.
    prefetch() {
      const near = this.items.slice(Math.max(0, this.at - 3), this.at + AHEAD).map((item) => item.url);
      for (const url of near) {
        if (this.images.has(url)) continue;
        const image = Object.assign(new Image(), { src: url });
        image.decode().catch(() => {});
        this.images.set(url, image);
      }
      for (const url of this.images.keys()) if (!near.includes(url)) this.images.delete(url);
    },
    // Of a format that browsers do not show (TIFF) the API has the pixels in one that they do. Never the heat map in its
    // place: it is the model's answer.
    unshown() {
      const converted = this.url(this.current, "image?format=png");
      if (this.picture !== this.current.url) {
        this.current.heatless = true;
        this.heat = false;
      } else if (this.current.url !== converted) this.current.url = converted;
      else this.current.failed = true;
    },
    pressed(event) {
      if (!this.reviewer || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.closest("input, textarea, select, [contenteditable]")) return;
      const key = event.key.toLowerCase();
      // It would press the button that has the focus again and again.
      if (key === "enter" && event.repeat) event.preventDefault();
      else if (key === "arrowleft") this.go(-1);
      else if (key === "arrowright") this.go(1);
      // A key that is held down would judge frames that nobody has seen.
      else if (event.repeat) return;
      else if (key === "escape" && this.current?.drawn) this.current.drawn = null;
      else if (key === "u") this.undo();
      else if (key === "b") this.boxes = !this.boxes;
      else if (key === "h") this.heat = !this.heat && !this.current?.heatless;
      else if (key === "o") this.decide("ok");
      else if (key === "d") this.decide("defect");
      else if (key >= "1" && key <= "9" && this.names[key - 1]) this.decide("defect", this.names[key - 1]);
      else return;
      event.preventDefault();
    },
    go(by) {
      this.at = Math.min(Math.max(0, this.at + by), this.items.length);
      this.heat = false;
      this.corner = null;
      this.prefetch();
      if (this.items.length - this.at < FETCH_BELOW) this.more();
    },
    decide(label, defectClass = null) {
      const item = this.current;
      if (!item) return;
      const was = item.decision;
      if (!was) this.total = Math.max(0, this.total - 1);
      const box = label === "defect" ? item.drawn : null;
      const key = this.send(item, { act: "review", label, defect_class: defectClass, box, note: null, was });
      item.decision = { key, label, defect_class: defectClass };
      this.decided.push({ item, key, was });
      this.go(1);
    },
    decideOther() {
      const name = this.$refs.other.value.trim();
      if (!name) return this.$refs.other.focus();
      if (!this.names.includes(name)) this.names.push(name);
      this.$refs.other.value = "";
      this.$refs.other.blur();
      this.decide("defect", name);
    },
    // What was said before counts again, as in the record.
    undo() {
      if (!this.decided.length) return;
      const { item, key, was } = this.decided.pop();
      this.send(item, { act: "undo", undoes: key, was: item.decision });
      item.decision = was;
      if (!was) this.total += 1;
      this.at = this.items.indexOf(item);
      this.prefetch();
    },
    send(item, order) {
      const key = crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`;
      this.changes += 1;
      this.orders[key] = { key, inspection_id: item.row.inspection_id, reviewer: this.reviewer, ...order };
      item.pending = key;
      this.remember();
      this.$emit("act", this.orders[key]);
      return key;
    },
    remember() {
      sessionStorage.setItem(UNSAVED, JSON.stringify(this.orders));
    },
    more(cause = "hand") {
      this.asked = this.changes;
      // What was decided and recorded is in no queue any more.
      const known = this.items.filter((item) => !item.decision || item.pending).map((item) => item.row.inspection_id);
      this.$emit("more", { known, cause });
    },
    // Called by the desk from here on.
    answered({ key, inspection_id, error }) {
      const order = this.orders[key];
      this.changes += 1;
      delete this.orders[key];
      this.remember();
      const item = this.items.find((each) => each.row.inspection_id === inspection_id);
      const latest = item && item.pending === key;
      if (latest) item.pending = null;
      if (!error) return;
      this.failed(order.act, error);
      // Whatever was to lead back to this decision leads to the one before.
      for (const each of [...this.decided, ...Object.values(this.orders)]) if (each.was?.key === key) each.was = order.was;
      this.decided = this.decided.filter((each) => each.key !== key);
      if (latest) this.bringBack(item, order);
    },
    failed(act, reason) {
      const known = this.failures.find((one) => one.act === act && one.reason === reason);
      if (known) known.count += 1;
      else this.failures.push({ act, reason, count: 1 });
    },
    // Not under the reviewer's fingers, who is about to judge what is shown: it comes next.
    bringBack(item, order) {
      const now = item.decision;
      item.decision = order.was;
      if (order.act === "undo") {
        this.decided.push({ item, key: order.undoes, was: now });
        if (!now) this.total = Math.max(0, this.total - 1);
        return;
      }
      const current = this.current;
      if (!order.was) this.total += 1;
      if (item === current) return;
      this.items.splice(this.items.indexOf(item), 1);
      const at = current ? this.items.indexOf(current) : this.items.length;
      this.items.splice(current ? at + 1 : at, 0, item);
      this.at = at;
      this.prefetch();
    },
    arrived(rows, waiting) {
      this.lost = null;
      this.add(rows);
      // What was decided while this was asked may be counted there or not; then the next answer sets it right.
      if (this.asked === this.changes && !this.saving) this.total = waiting;
    },
    missed(reason) {
      this.lost = reason;
    },
  },
};
