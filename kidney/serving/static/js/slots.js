// The sentences of templates/words.html, chosen and filled. Words come from the page, values from here.

/** Return a copy of a template's content: parts whose condition is empty are gone, slots are filled. */
export function filled(template, values) {
  const copy = template.content.cloneNode(true);
  for (const part of copy.querySelectorAll("[data-when]")) {
    if (!values[part.dataset.when]) part.remove();
  }
  for (const slot of copy.querySelectorAll("[data-slot]")) {
    slot.replaceWith(document.createTextNode(values[slot.dataset.slot] ?? ""));
  }
  return copy;
}

/** Put the words of a template, by its id without "-words", into an element. */
export function say(element, name, values) {
  element.replaceChildren(filled(document.getElementById(`${name}-words`), values));
}
