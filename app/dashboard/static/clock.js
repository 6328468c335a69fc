// A time of the API (RFC 3339) in the browser's own zone; with its date unless it is today's.
const clockTime = (at) => {
  const moment = new Date(at), today = moment.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  return moment.toLocaleString(undefined, today ? time : { day: "numeric", month: "short", ...time });
};
