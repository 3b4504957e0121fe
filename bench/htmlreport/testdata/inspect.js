// What is wrong with the page that is shown, and what its background is.
(() => {
  const problems = [];
  const bad = (what, e) => {
    if (problems.length < 40) problems.push(what + (e ? ": " + (e.textContent || "").trim().slice(0, 60) : ""));
  };

  // Colours, as the eye gets them.
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const painted = new Map(); // reading a pixel takes long
  const paint = (...colours) => { // the last is at the bottom
    const key = colours.join();
    if (!painted.has(key)) {
      pixel.clearRect(0, 0, 1, 1);
      for (const c of colours.reverse()) {
        pixel.fillStyle = c;
        pixel.fillRect(0, 0, 1, 1);
      }
      painted.set(key, pixel.getImageData(0, 0, 1, 1).data);
    }
    return painted.get(key);
  };
  const rgba = (css) => paint(css);
  const layers = new WeakMap(); // the backgrounds of an element and of what it is in
  const layersOf = (e) => {
    if (!e) return ["white"];
    if (!layers.has(e)) {
      const own = getComputedStyle(e).backgroundColor;
      const below = layersOf(e.parentElement);
      layers.set(e, own === "rgba(0, 0, 0, 0)" ? below : [own, ...below]);
    }
    return layers.get(e);
  };
  const behind = (e) => paint(...layersOf(e));
  const luminance = (c) => {
    const [r, g, b] = [...c].slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)];
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
  };
  const seen = new Set();
  const check = (e, colour, background, least) => {
    const c = contrast(colour, background);
    const key = [...colour, ...background, least].join();
    if (c < least && !seen.has(key)) {
      seen.add(key);
      bad(`contrast ${c.toFixed(2)} < ${least} of <${e.tagName.toLowerCase()} class="${e.getAttribute("class") || ""}">`, e);
    }
  };

  const wide = (when) => {
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) bad(`wider than the screen ${when}: ${root.scrollWidth} > ${root.clientWidth}`);
  };
  wide("as it is");
  for (const d of document.querySelectorAll("details")) d.open = true;
  wide("with all tables open");

  if (typeof hacked !== "undefined") bad("a script ran");

  for (const svg of document.querySelectorAll("svg")) {
    const names = (svg.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id));
    if (svg.getAttribute("role") !== "img" || names.length < 2 || names.some((n) => !n || !n.textContent.trim())) bad("svg without a name", svg);
    const box = svg.getBoundingClientRect();
    if (box.width < 100 || box.height < 30) bad(`svg of ${box.width} x ${box.height}`, svg);
    const texts = [...svg.querySelectorAll("text")].map((e) => ({ e, r: e.getBoundingClientRect() })).filter((t) => t.e.textContent);
    for (const { e, r } of texts) {
      if (r.width < 1 || r.height < 1) bad("text without a size", e);
      if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 2 || r.bottom > box.bottom + 2) bad("text cut off", e);
    }
    for (let i = 0; i < texts.length; i++)
      for (let j = i + 1; j < texts.length; j++) {
        const [a, b] = [texts[i].r, texts[j].r];
        const dx = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const dy = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (dx > 1 && dy > 4) bad(`text overlaps "${texts[j].e.textContent}"`, texts[i].e);
      }
    for (const e of svg.querySelectorAll("text, tspan")) {
      const kind = (e.getAttribute("class") || "").match(/^share on(\d)$/);
      const under = kind ? rgba(getComputedStyle(svg.querySelector(`rect.k${kind[1]}`)).fill) : behind(svg);
      check(e, rgba(getComputedStyle(e).fill), under, 4.5);
    }
    for (const e of svg.querySelectorAll(".fill, .dot")) check(e, rgba(getComputedStyle(e).color), behind(svg), 3);
    for (const e of svg.querySelectorAll(".whisker")) check(e, rgba(getComputedStyle(e).stroke), behind(svg), 3);
  }

  for (const table of document.querySelectorAll("table")) {
    if (!table.caption || !table.caption.offsetWidth || !table.caption.textContent.trim()) bad("table without a caption", table);
    for (const th of table.querySelectorAll("thead th")) if (th.scope !== "col" || !th.textContent.trim()) bad("header without a scope or a text", th);
    if (!table.querySelector("thead th")) bad("table without headers", table);
    for (const tr of table.querySelectorAll("tbody tr")) {
      const first = tr.firstElementChild;
      if (first.tagName !== "TH" || first.scope !== "row") bad("row without a header", tr);
    }
    if (!table.closest(".scroll")) bad("table that does not scroll in a box", table);
  }

  for (const e of document.querySelectorAll("h1, h2, h3, h4, p, b, li, a, summary, small, strong, caption, th, td, dt, dd, pre, figcaption span"))
    if (e.textContent.trim() && e.getClientRects().length) check(e, rgba(getComputedStyle(e).color), behind(e), 4.5);

  return {
    problems,
    charts: document.querySelectorAll("svg").length,
    brightness: luminance(behind(document.body)),
  };
})()
