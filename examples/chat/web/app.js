"use strict";
const list = document.getElementById("events");
new EventSource("events").onmessage = (e) => {
  const item = document.createElement("li");
  item.textContent = e.data;
  list.append(item);
  if (list.childElementCount > 100) list.firstElementChild.remove();
};
