// The live wall: a card for each camera.
const SYMBOLS = { ok: "✓", review: "?", defect: "✕" };
const WORDS = { ok: "OK", review: "REVIEW", defect: "DEFECT" };
const ASKS = 8, ASK_AGAIN_MS = 350;

export default {
  props: { cameras: Array, down: Boolean, asked: Boolean, staleAfter: Number },
  template: `
    <div class="wall">
      <div v-if="!cameras.length && !down" class="state">
        <span class="state-symbol" aria-hidden="true">○</span>
        <template v-if="asked">
          <h2 class="state-title">No camera has sent a frame yet</h2>
          <p class="state-advice">A camera appears here with its first frame. It must say who it is: camera_id in its
            request. To see the wall work without a line, run python -m app simulate.</p>
        </template>
        <h2 v-else class="state-title">Asking the API for its cameras…</h2>
      </div>
      <div v-if="!cameras.length && down" class="state problem">
        <span class="state-symbol" aria-hidden="true">⚠</span>
        <h2 class="state-title">Nothing is known of the line</h2>
        <p class="state-advice">The API has not answered since this desk was started. The wall fills by itself once it does.</p>
      </div>
      <template v-if="cameras.length">
        <div class="wall-sum" aria-label="The whole line">
          <span><b>{{ inspecting }}</b> of {{ cameras.length }} {{ cameras.length === 1 ? "camera" : "cameras" }} inspecting</span>
          <span><b>{{ sum("megapixels_per_second").toFixed(1) }}</b> Mpx/s</span>
          <span><b>{{ sum("frames_per_second").toFixed(1) }}</b> frames/s</span>
          <span>longest lag <b :class="{ 'fact-bad': slowest?.late }">{{ lag(slowest) }}</b></span>
          <span><b>{{ sum("gaps") }}</b> {{ sum("gaps") === 1 ? "gap" : "gaps" }}</span>
        </div>
        <div class="wall-cards" :class="'wall-of-' + Math.min(cameras.length, 4)">
          <article v-for="camera in cameras" :key="camera.camera_id" class="camera" :class="'shows-' + shows(camera)">
            <header class="camera-verdict">
              <template v-if="shows(camera) === 'stale'">
                <span class="camera-symbol" aria-hidden="true">–</span>
                <span class="camera-word">NO FRAME</span>
                <span class="camera-since">for {{ duration(age(camera)) }}</span>
              </template>
              <template v-else>
                <span class="camera-symbol" aria-hidden="true">{{ symbol(camera) }}</span>
                <span class="camera-word">{{ word(camera) }}</span>
              </template>
            </header>
            <div class="camera-main">
            <figure class="camera-frame">
              <img v-if="pictures[camera.camera_id]?.url" :src="pictures[camera.camera_id].url"
                :alt="'Last frame of ' + camera.camera_id + ' with its heat map'">
              <p v-else>There is no picture of this camera yet.</p>
            </figure>
            <div class="camera-body">
              <h2 class="camera-name">{{ camera.camera_id }}<span v-if="camera.side" class="muted"> · {{ camera.side }}</span></h2>
              <dl class="camera-facts">
                <div class="camera-coil"><dt>Coil</dt><dd><a v-if="camera.coil_id" :href="coil(camera)">{{ camera.coil_id }}</a><template v-else>none</template></dd></div>
                <div><dt>Position</dt><dd>{{ metres(camera.position_mm) }}</dd></div>
                <div><dt>Last frame</dt><dd>{{ duration(age(camera)) }} ago</dd></div>
                <div><dt>Lag</dt><dd :class="{ 'fact-bad': camera.late || camera.clock_ahead }">{{ lag(camera) }}</dd></div>
                <div><dt>Speed</dt><dd>{{ number(camera.megapixels_per_second, 1) }} Mpx/s</dd></div>
                <div title="How often sequence numbers are left out in its last thousand frames"><dt>Gaps of late</dt><dd :class="{ 'fact-bad': camera.gaps }">{{ camera.gaps ?? "unknown" }}{{ camera.gaps ? " ⚠" : "" }}</dd></div>
              </dl>
              <p class="camera-finding">
                <template v-if="camera.finding">
                  Last finding: <span class="verdict" :class="'verdict-' + camera.finding.verdict">
                    {{ mark(camera.finding.verdict) }}{{ camera.finding.defect_class ? " · " + camera.finding.defect_class : "" }}</span>
                  {{ clock(camera.finding.at) }}<template v-if="camera.finding.position_mm !== null"> at {{ metres(camera.finding.position_mm) }}</template>
                  <a v-if="camera.finding.coil_id" class="camera-look" :href="coil(camera.finding) + '&inspection_id=' + camera.finding.inspection_id">look at it</a>
                </template>
                <span v-else class="muted">No finding since this desk was started.</span>
              </p>
            </div>
            </div>
          </article>
        </div>
      </template>
    </div>`,
  data: () => ({ now: performance.now(), told: performance.now(), pictures: {} }),
  created() {
    this.follow();
  },
  mounted() {
    this.timer = setInterval(() => (this.now = performance.now()), 250);
  },
  unmounted() {
    clearInterval(this.timer);
    this.gone = true;
    for (const shown of Object.values(this.pictures)) this.replace(shown, null, null);
  },
  watch: {
    cameras() {
      this.told = this.now = performance.now();
      this.follow();
    },
  },
  computed: {
    inspecting() {
      return this.cameras.filter((camera) => this.shows(camera) !== "stale").length;
    },
    // The camera of the longest lag.
    slowest() {
      const timed = this.cameras.filter((camera) => typeof camera.lag_ms === "number" && !camera.clock_ahead);
      return timed.sort((a, b) => b.lag_ms - a.lag_ms)[0];
    },
  },
  methods: {
    age(camera) {
      return camera.age_s + (this.now - this.told) / 1000;
    },
    shows(camera) {
      return this.down || !camera.verdict || this.age(camera) > this.staleAfter ? "stale" : camera.verdict;
    },
    symbol: (camera) => SYMBOLS[camera.verdict] || "•",
    word: (camera) => WORDS[camera.verdict] || camera.verdict,
    mark: (verdict) => `${SYMBOLS[verdict] || ""} ${WORDS[verdict] || verdict}`,
    sum(name) {
      return this.cameras.reduce((sum, camera) => sum + (camera[name] || 0), 0);
    },
    number: (value, digits) => (value === null || value === undefined ? "unknown" : value.toFixed(digits)),
    lag(camera) {
      const ms = camera?.lag_ms;
      if (ms === null || ms === undefined) return "unknown";
      // It was received before it was taken: that is the camera's clock, or this server's, and no lag.
      if (camera.clock_ahead) return `none: clock ${this.duration(-ms / 1000)} ahead ⚠`;
      const told = ms < 1000 ? `${Math.round(ms)} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : this.duration(ms / 1000);
      return camera.late ? told + " ⚠" : told;
    },
    metres: (mm) => (mm === null || mm === undefined ? "unknown" : `${(mm / 1000).toFixed(1)} m`),
    clock: clockTime,
    coil: (row) => `/coil?coil_id=${encodeURIComponent(row.coil_id)}`,
    duration(seconds) {
      if (seconds < 60) return `${Math.floor(seconds)} s`;
      const minutes = Math.floor(seconds / 60);
      if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
      const hours = Math.floor(minutes / 60);
      return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
    },
    // The API draws a picture half a second after the verdict, or later where it has much to do: it is asked for again,
    // which costs nothing while it is the same. One question at a time: a slow connection shows fewer, not older ones.
    follow() {
      for (const camera of this.cameras) {
        if (!camera.picture || !camera.inspection_id) continue;
        const shown = (this.pictures[camera.camera_id] ??= { url: null, tag: null, of: null, asks: 0, busy: false, timer: null });
        if (shown.of === camera.inspection_id) continue;
        Object.assign(shown, { of: camera.inspection_id, asks: ASKS });
        if (!shown.busy) this.ask(shown, camera.picture);
      }
    },
    async ask(shown, address) {
      clearTimeout(shown.timer);
      shown.busy = true;
      shown.asks -= 1;
      const { of } = shown;
      try {
        const answer = await fetch(address, { cache: "no-cache" });
        const tag = answer.headers.get("etag");
        // 204: it is not drawn yet.
        if (answer.status !== 200) this.replace(shown, null, null);
        else if (tag === null || tag !== shown.tag) this.replace(shown, URL.createObjectURL(await answer.blob()), tag);
      } catch {
        // The desk itself does not answer; NiceGUI says so across the page.
      }
      shown.busy = false;
      if (shown.asks && !this.gone) shown.timer = setTimeout(() => this.ask(shown, address), shown.of === of ? ASK_AGAIN_MS : 0);
    },
    replace(shown, url, tag) {
      if (shown.url) URL.revokeObjectURL(shown.url);
      Object.assign(shown, { url, tag });
    },
  },
};
