// Grey values as numbers, each on its own grey.
// Above it black can be read better than white, below it white: both have 4.5:1 there.
const MIDDLE = 117;
export default {
  props: { rows: Array },
  template: `
    <table class="pixel-grid"><tbody>
      <tr v-for="row in rows"><td v-for="value in row" :style="{ background: grey(value), color: value > ${MIDDLE} ? '#000' : '#fff' }">{{ value }}</td></tr>
    </tbody></table>`,
  methods: {
    grey: (value) => `rgb(${value}, ${value}, ${value})`,
  },
};
