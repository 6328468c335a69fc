// A band across the page while the API does not answer.
export default {
  props: { state: Object },
  template: `
    <div v-if="state && state.down_since" class="connection-lost" role="alert">
      <strong>⚠ {{ state.refused ? 'The API does not let the desk in' : 'The API does not answer' }}</strong>
      <span>since {{ since }}. What is shown is the last that was known; it is asked again by itself.</span>
      <small>{{ state.reason }}</small>
    </div>`,
  computed: {
    since() {
      return clockTime(this.state.down_since);
    },
  },
};
