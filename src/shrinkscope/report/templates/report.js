"use strict";
// Sorting, tabs, heat maps and the ranges in cells. Without scripts every table and figure of the report is simply shown.
(() => {
  document.documentElement.classList.add("scripted");

  const compare = (numeric, descending) => (a, b) => {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === ""); // what was not measured stays last
    const order = numeric ? Number(a.key) - Number(b.key) : a.key.localeCompare(b.key, undefined, { numeric: true });
    return descending ? -order : order;
  };

  const sort = (table, header) => {
    const numeric = header.classList.contains("number");
    const before = header.getAttribute("aria-sort");
    const descending = before === "none" ? numeric : before === "ascending";
    for (const other of table.querySelectorAll("thead th")) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, key: row.cells[header.cellIndex].dataset.order }));
    rows.sort(compare(numeric, descending));
    body.append(...rows.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.querySelectorAll("thead th")) {
      header.querySelector("button").addEventListener("click", () => sort(table, header));
    }
  }

  const select = (tab, tabs) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
  };

  for (const list of document.querySelectorAll("[role=tablist]")) {
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    for (const [index, tab] of tabs.entries()) {
      tab.addEventListener("click", () => select(tab, tabs));
      tab.addEventListener("keydown", (event) => {
        const ends = { Home: 0, End: tabs.length - 1 };
        const to = event.key in step ? (index + step[event.key] + tabs.length) % tabs.length : ends[event.key];
        if (to === undefined) return;
        event.preventDefault();
        select(tabs[to], tabs);
        tabs[to].focus();
      });
    }
    if (tabs.length) select(tabs[0], tabs);
  }

  // A heat map is one stop of the tab key; arrows walk through its cells, and a line says what the cell is.
  for (const map of document.querySelectorAll("table.heat")) {
    const readout = document.getElementById(map.dataset.readout);
    const rows = [...map.tBodies[0].rows].map((row) => [...row.cells].filter((cell) => cell.tagName === "TD"));
    const tell = (cell) => { readout.textContent = cell.title; };
    const go = (cell) => {
      for (const other of map.querySelectorAll("td[tabindex='0']")) other.tabIndex = -1;
      cell.tabIndex = 0;
      cell.focus();
    };
    for (const [y, row] of rows.entries()) {
      for (const [x, cell] of row.entries()) {
        cell.tabIndex = x || y ? -1 : 0;
        cell.addEventListener("mouseenter", () => tell(cell));
        cell.addEventListener("focus", () => tell(cell));
        cell.addEventListener("keydown", (event) => {
          const to = { ArrowRight: [y, x + 1], ArrowLeft: [y, x - 1], ArrowDown: [y + 1, x], ArrowUp: [y - 1, x],
            Home: [y, 0], End: [y, row.length - 1] }[event.key];
          if (!to) return;
          event.preventDefault();
          const next = rows[to[0]]?.[to[1]];
          if (next) go(next);
        });
      }
    }
  }

  for (const box of document.querySelectorAll("input.show-notes")) {
    const tables = document.getElementById(box.dataset.for);
    const show = () => tables.classList.toggle("hide-notes", !box.checked);
    box.addEventListener("change", show);
    show();
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
