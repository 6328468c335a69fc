// A time in the browser's own zone. `ago` counts on by itself.
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export default {
  props: { at: String, format: String },
  template: `<time v-if="at" :datetime="at" :title="whole">{{ words }}</time><span v-else class="muted">never</span>`,
  data: () => ({ now: Date.now() }),
  mounted() {
    if (this.format === "ago") this.timer = setInterval(() => (this.now = Date.now()), 1000);
  },
  unmounted() {
    clearInterval(this.timer);
  },
  computed: {
    whole() {
      return new Date(this.at).toLocaleString(undefined, { hourCycle: "h23" });
    },
    words() {
      const at = new Date(this.at);
      if (this.format === "time") return clockTime(this.at);
      if (this.format !== "ago") return at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
      const seconds = Math.max(0, (this.now - at) / 1000);
      const [unit, size] = UNITS.find(([, size]) => seconds >= size) || UNITS[3];
      return new Intl.RelativeTimeFormat(undefined).format(-Math.floor(seconds / size), unit);
    },
  },
};
