// Search as one types, and a few keys. The page works without this.
"use strict";

document.documentElement.classList.add("script");

const field = document.querySelector("[data-search]");
const results = document.getElementById("results");

if (field && results) {
  const before = results.innerHTML;
  const address = new URL(location.href);
  const home = address.pathname === "/search" ? "/" : address.pathname + address.search;
  let wait = 0;
  let asking = null;

  const search = async () => {
    asking?.abort();
    const query = field.value.trim();
    if (!query) {
      if (location.pathname === "/search") {
        location.assign(home);
        return;
      }
      results.innerHTML = before; // what the server sent with this page
      history.replaceState(null, "", home);
      return;
    }
    asking = new AbortController();
    const asked = new URLSearchParams({ q: query });
    const space = new URL(location.href).searchParams.get("space");
    if (space) asked.set("space", space);
    try {
      const answer = await fetch(`/search?${asked}&part=1`, { signal: asking.signal });
      if (!answer.ok) return;
      results.innerHTML = await answer.text(); // escaped by the server
      history.replaceState(null, "", `/search?${asked}`);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  };

  field.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(search, 140);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && field.value) {
      field.value = "";
      event.preventDefault();
      search();
    }
  });

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
      field.select();
      return;
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const hits = [...results.querySelectorAll("a.hit, a.line")];
    const at = hits.indexOf(document.activeElement);
    if (at < 0 && document.activeElement !== field) return;
    event.preventDefault();
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? field : hits[Math.min(next, hits.length - 1)])?.focus();
  });
}

for (const choice of document.querySelectorAll("[data-go]")) {
  choice.addEventListener("change", () => choice.form.submit());
}

const grow = (area) => {
  area.rows = 1;
  while (area.scrollHeight > area.clientHeight && area.rows < 12) area.rows += 1;
};
for (const area of document.querySelectorAll("[data-grow]")) {
  grow(area);
  area.addEventListener("input", () => grow(area));
}
