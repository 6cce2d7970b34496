// Hover, focus or a click on a line of pseudocode or a tagged line of code marks both.
for (const box of document.querySelectorAll(".side-by-side")) {
  const parts = [...box.querySelectorAll("[data-lines]")];
  let chosen = null;

  // The numbers of the innermost line or region around an element; null outside of them.
  function numbers(element) {
    const part = element.closest("[data-lines]");
    return part && box.contains(part) ? new Set(part.dataset.lines.split(" ")) : null;
  }

  function mark(wanted) {
    for (const part of parts) {
      const own = part.dataset.lines.split(" ");
      part.classList.toggle("marked", wanted !== null && own.some((n) => wanted.has(n)));
    }
  }

  box.addEventListener("mouseover", (event) => mark(numbers(event.target) ?? chosen));
  box.addEventListener("mouseleave", () => mark(chosen));
  box.addEventListener("focusin", (event) => mark(numbers(event.target) ?? chosen));
  box.addEventListener("focusout", () => mark(chosen));
  box.addEventListener("click", (event) => {
    chosen = numbers(event.target);
    mark(chosen);
  });

  // the address may already name a line: that of a link from another page, or of "back"
  function follow() {
    const part = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (part && box.contains(part)) {
      chosen = numbers(part);
      mark(chosen);
    }
  }
  window.addEventListener("hashchange", follow);
  follow();
}
