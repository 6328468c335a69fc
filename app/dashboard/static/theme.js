// Light, dark or the system's own: the choice is this browser's, and is kept here.
const steelsight = {
  themes: { auto: "◐ System", light: "☀ Light", dark: "☾ Dark" },
  theme: () => localStorage.getItem("steelsight-theme") || "auto",
  showTheme() {
    const theme = steelsight.theme();
    if (window.Quasar) Quasar.Dark.set(theme === "auto" ? "auto" : theme === "dark");
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = steelsight.themes[theme];
      button.setAttribute("aria-label", `Colours: ${steelsight.themes[theme].slice(2)}. Press to change.`);
    }
  },
  nextTheme() {
    const names = Object.keys(steelsight.themes);
    localStorage.setItem("steelsight-theme", names[(names.indexOf(steelsight.theme()) + 1) % names.length]);
    steelsight.showTheme();
  },
};
// Not on the button itself: the page around it is built by Vue after this, and an attribute would be inline script.
document.addEventListener("click", (event) => {
  if (event.target.closest("#theme")) steelsight.nextTheme();
});
