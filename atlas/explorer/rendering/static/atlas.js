// What a page gains where scripts run: columns that sort, and the state of what the model does.
document.querySelectorAll("table").forEach(sortable);

// Parts that take longer come after the page: each is a page of its own, to which a link leads.
document.querySelectorAll("[data-part]").forEach(async (part) => {
  const answer = await fetch(part.dataset.part).catch(() => null);
  if (!answer?.ok) return;
  const there = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("part");
  if (!there) return;
  there.removeAttribute("id");
  there.querySelectorAll("table").forEach(sortable);
  part.replaceWith(there);
});

function sortable(table) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    if (!head.textContent.trim() || head.querySelector("a")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, head, column));
  });
}

function sort(table, head, column) {
  const down = head.classList.contains("n")
    ? head.getAttribute("aria-sort") !== "descending"
    : head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const key = (row) => {
    const text = row.cells[column]?.textContent.trim() ?? "";
    const number = Number(text.replaceAll(",", ""));
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  const compared = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return down ? -order : order;
  };
  body.append(...[...body.rows].sort(compared));
}

const pending = document.querySelector("[data-state]");
if (pending) {
  const timer = setInterval(async () => {
    const answer = await fetch(pending.dataset.state).catch(() => null);
    if (!answer?.ok) return;
    const { state, said, share } = await answer.json();
    pending.querySelector("span").textContent = said;
    const bar = pending.querySelector("progress");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    if (state === "done" || state === "failed") {
      clearInterval(timer);
      location.reload();
    }
  }, 700);
}
