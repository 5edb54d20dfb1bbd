// Column headings become buttons that sort; without this script the table stands sorted by error.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("th[data-column]")];
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim().toLowerCase();
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(String(b)) : a - b);
  for (const head of heads) {
    const column = Number(head.dataset.column);
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sorted = head.getAttribute("aria-sort");
      const down = sorted ? sorted === "ascending" : head.dataset.first === "descending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, two) => {
        const a = key(one, column), b = key(two, column);
        const missing = Number.isNaN(a) - Number.isNaN(b); // methods without that number stay last
        return missing || (down ? compare(b, a) : compare(a, b));
      });
      body.append(...rows);
    });
  }
}
