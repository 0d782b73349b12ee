"use strict";
// Rows of [data-filtered] show when their group's button is pressed and they hold the words that are typed.
for (const part of document.querySelectorAll("[data-filters]")) {
  const rows = [...document.querySelectorAll(part.dataset.filters)];
  const buttons = [...part.querySelectorAll("button[data-value]")];
  const words = part.querySelector("input");
  const who = part.querySelector("select");
  const count = part.querySelector(".count");
  const show = () => {
    const pressed = new Set(buttons.filter((b) => b.ariaPressed === "true").map((b) => b.dataset.value));
    const text = words ? words.value.toLowerCase() : "";
    let shown = 0;
    for (const row of rows) {
      row.hidden = !pressed.has(row.dataset.group) || !row.textContent.toLowerCase().includes(text)
        || Boolean(who && who.value && row.dataset.who !== who.value);
      shown += row.hidden ? 0 : 1;
    }
    if (count) count.textContent = `${shown} of ${rows.length}`;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.ariaPressed = button.ariaPressed === "true" ? "false" : "true";
      show();
    });
  }
  if (words) words.addEventListener("input", show);
  if (who) who.addEventListener("change", show);
  show();
}
