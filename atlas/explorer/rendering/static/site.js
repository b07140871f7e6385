// Search in a site of files: names are compared with the index that stands in index.js.
addEventListener("DOMContentLoaded", () => {
  const list = document.getElementById("hits");
  if (!list || typeof ATLAS_INDEX === "undefined") return;
  const text = new URLSearchParams(location.search).get("q") ?? decodeURIComponent(location.hash.slice(1));
  const box = document.getElementById("q");
  box.value = text;
  const show = () => {
    const wanted = fold(box.value);
    list.replaceChildren();
    const said = document.getElementById("said");
    if (!wanted) return;
    const hits = found(wanted);
    said.textContent = hits.length ? `${hits.length}${hits.length === 100 ? " or more" : ""} found` : "Nothing is called so.";
    for (const [name, rest, href] of hits) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = href;
      link.textContent = name;
      item.append(link, rest);
      list.append(item);
    }
  };
  box.addEventListener("input", show);
  show();
});

const fold = (text) => text.normalize("NFC").toLowerCase().trim();

function found(wanted) {
  const hits = [];
  for (const name of ATLAS_INDEX.neurons) {
    if (name === wanted) hits.push([`Neuron ${name}`, "", `neuron/${name.replace(":", "-")}.html`]);
  }
  for (const [id, label, file] of ATLAS_INDEX.relations) {
    if (fold(id) === wanted || fold(label).includes(wanted)) hits.push([label, ` ${id}`, `relation/${file}`]);
  }
  const facts = ATLAS_INDEX.facts
    .map((fact) => [rank(fact, wanted), fact])
    .filter(([place]) => place < 4)
    .sort((a, b) => a[0] - b[0]);
  for (const [, [subject, object, relation, file]] of facts.slice(0, 100 - hits.length)) {
    hits.push([subject, ` → ${object} (${relation})`, `fact/${file}`]);
  }
  return hits;
}

function rank([subject, object], wanted) {
  const [s, o] = [fold(subject), fold(object)];
  return s === wanted ? 0 : s.startsWith(wanted) ? 1 : o === wanted ? 2 : s.includes(wanted) || o.includes(wanted) ? 3 : 4;
}
