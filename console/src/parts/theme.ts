/** What a person chose: dark or light, and whether single keys work. */
export type Theme = "system" | "light" | "dark";

const KEPT = "holdfast.theme";

export function theme(): Theme {
  const kept = read(KEPT);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function setTheme(chosen: Theme): void {
  write(KEPT, chosen === "system" ? "" : chosen);
  apply(chosen);
}

export function apply(chosen: Theme = theme()): void {
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

/** Whether a letter alone does something wherever one is; who dictates, or hits keys by chance, turns it off. */
export function singleKeys(): boolean {
  return read("holdfast.keys") !== "off";
}

export function setSingleKeys(on: boolean): void {
  write("holdfast.keys", on ? "" : "off");
}

/** Returns a choice that was kept; never a secret, and nothing of what a session says. */
export function read(name: string): string {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

export function write(name: string, value: string): void {
  try {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  } catch {
    // A browser that keeps nothing.
  }
}
