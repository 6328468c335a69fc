// The sign-in page in the colours that this browser was told to use; see theme.js.
document.addEventListener("DOMContentLoaded", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const theme = localStorage.getItem("steelsight-theme") || "auto";
    const shown = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
    document.body.classList.toggle("body--dark", shown === "dark");
    document.body.classList.toggle("body--light", shown === "light");
  };
  dark.addEventListener("change", show);
  show();
});
