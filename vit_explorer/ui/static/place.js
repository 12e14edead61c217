// What is shown, in the address: a reload, or a link someone else opens, shows the same.

/** The tab, and whichever of model, example picture and target are named and known. */
export function readPlace(tabs, setup) {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  const named = new URLSearchParams(query);
  const place = {};
  const [model, picture, target] = ["model", "picture", "target"].map((key) => named.get(key));
  const known = (name) => name.startsWith("run:") || setup.models.includes(name.split(".")[0]);
  if (model && (setup.models.includes(model) || known(model))) place.model = model;
  if (setup.examples.some(({ name }) => name === picture)) place.picture = picture;
  if (/^\d{1,6}$/.test(target ?? "")) place.target = Number(target);
  return { tab: tabs.includes(tab) ? tab : "explain", place };
}

/** Follow the store; an address typed by hand or opened from a link is given to `onPlace`. */
export function keepPlace(store, tabs, setup, onPlace) {
  store.on(["tab", "result"], ({ tab, result }) => {
    if (!result) return;
    const { model, picture, target } = result.place;
    const named = new URLSearchParams();
    const example = setup.examples.findIndex(({ name }) => name === picture);
    if (model !== setup.model) named.set("model", model);
    if (example > 0) named.set("picture", picture);
    if (example >= 0 && target !== null) named.set("target", String(target));
    const query = named.size ? `?${named}` : "";
    history.replaceState({ ...history.state, explorer: true }, "", `#${tab}${query}`);
  });
  window.addEventListener("hashchange", () => {
    const { tab, place } = readPlace(tabs, setup);
    store.set({ tab });
    // Going back leads to an address of our own, which must not bring back an earlier picture.
    if (!history.state?.explorer && Object.keys(place).length) onPlace(place);
  });
}
