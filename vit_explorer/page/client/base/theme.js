// Light or dark: the system's choice until the reader makes one.

const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

function effective(theme) {
  return theme || (systemDark.matches ? "dark" : "light");
}

export function applyTheme(theme) {
  document.documentElement.dataset.vxTheme = effective(theme);
}

export function otherTheme(theme) {
  return effective(theme) === "dark" ? "light" : "dark";
}
