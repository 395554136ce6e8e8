// Sets the theme before the first paint. A file of its own, because the content policy allows no
// inline script. frame/theme.ts changes the same attribute later.
(() => {
  let choice = "system";
  try {
    choice = localStorage.getItem("tokenyard.theme") || "system";
  } catch {
    // Storage may be forbidden; the system's theme is then the answer.
  }
  const dark =
    choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
