// Two layers of a picture under a slider, a loupe on both and on the clean one, and what each took away.
// Without this script all layers stand side by side.
function compareLayers(gallery) {
  const make = (tag, attributes = {}, ...inner) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inner);
    return element;
  };
  const samples = [...gallery.querySelectorAll(".sample")];
  const layersOf = (sample) => new Map([...sample.querySelectorAll("[data-layer]")].map((item) => [item.dataset.layer,
    { item, image: item.querySelector("img"), words: item.dataset.words, score: item.dataset.score }]));
  let sample = samples[0], layers = layersOf(sample), pixels = new Map(), turn = 0;
  const chosen = { left: "noisy", right: gallery.dataset.first };
  let spot = [0.5, 0.5], zoom = 4;

  const under = make("img", { alt: "", draggable: "false" }), over = make("img", { alt: "", draggable: "false" });
  const tags = { left: make("span", { class: "tag left" }), right: make("span", { class: "tag right" }) };
  const frame = make("span", { class: "spot" });
  const stage = make("div", { class: "stage", tabindex: "0", role: "group",
    "aria-label": "The picture. Arrow keys move the loupe." },
    under, over, make("span", { class: "divider" }), frame, tags.left, tags.right);
  const range = make("input", { type: "range", min: "0", max: "100", step: "0.5", value: "50",
    "aria-label": "Where the left picture ends and the right one begins" });
  const selects = { left: make("select"), right: make("select") };
  const scores = make("p", { class: "scores", "aria-live": "polite" });
  const canvas = (kind) => {
    const words = make("figcaption");
    const picture = make("canvas", { role: "img" });
    return { kind, words, picture, figure: make("figure", { class: kind }, picture, words) };
  };
  const loupes = { left: canvas("loupe"), right: canvas("loupe"), clean: canvas("loupe") };
  const residuals = { left: canvas("residual"), right: canvas("residual") };
  const zooms = [["4", "4 ×"], ["1", "1 : 1"]].map(([value, words]) => {
    const radio = make("input", { type: "radio", name: "zoom", value });
    radio.checked = value === "4";
    radio.addEventListener("change", () => { zoom = Number(value); drawLoupes(); });
    return make("label", {}, radio, words);
  });
  const picks = make("div", { class: "picks", role: "group", "aria-label": "Pictures" });
  const about = make("div", { class: "about-it" });
  const viewer = make("div", { class: "viewer" }, picks, about,
    make("div", { class: "bench" },
      make("div", {},
        make("div", { class: "choices" }, make("label", {}, "left ", selects.left), make("label", {}, "right ", selects.right)),
        stage, range, scores),
      make("div", {},
        make("div", { class: "choices" }, make("b", {}, "Loupe"), ...zooms),
        make("div", { class: "loupes" }, ...Object.values(loupes).map((each) => each.figure)),
        make("div", { class: "choices" }, make("b", {}, "What was taken away"), make("span", { class: "soft" }, "× 4 around grey; ideally noise, no outlines")),
        make("div", { class: "residuals" }, ...Object.values(residuals).map((each) => each.figure)))));

  const slide = (value) => {
    range.value = String(value);
    stage.style.setProperty("--at", `${range.value}%`);
  };
  const size = () => [under.naturalWidth || 1, under.naturalHeight || 1];

  function drawLoupes() {
    const [width, height] = size();
    const dense = window.devicePixelRatio || 1;
    let seen = 0, tall = 0;
    for (const [side, { picture, words }] of Object.entries(loupes)) {
      const layer = layers.get(side === "clean" ? "clean" : chosen[side]);
      if (!layer) { picture.parentElement.hidden = true; continue; }
      picture.parentElement.hidden = false;
      const across = Math.max(1, Math.round((picture.clientWidth || 120) * dense));
      picture.width = picture.height = across;
      const factor = zoom === 1 ? 1 : zoom * dense; // one to one is in the screen's own pixels
      seen = Math.min(across / factor, width);
      tall = Math.min(across / factor, height);
      const left = Math.min(Math.max(spot[0] * width - seen / 2, 0), width - seen);
      const top = Math.min(Math.max(spot[1] * height - tall / 2, 0), height - tall);
      const context = picture.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(layer.image, left, top, seen, tall, 0, 0, seen * factor, tall * factor);
      words.textContent = layer.words;
      picture.setAttribute("aria-label", `${layer.words}, enlarged`);
      for (const [name, value] of [["left", left / width], ["top", top / height], ["width", seen / width], ["height", tall / height]])
        frame.style[name] = `${100 * value}%`;
    }
  }

  function read(name) {
    if (!pixels.has(name)) {
      const { image } = layers.get(name);
      const sheet = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
      const context = sheet.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      pixels.set(name, context.getImageData(0, 0, sheet.width, sheet.height));
    }
    return pixels.get(name);
  }

  function drawResidual(side) {
    const { picture, words, figure } = residuals[side];
    const name = chosen[side] === "noisy" ? "clean" : chosen[side];
    figure.hidden = !layers.has(name) || !layers.has("noisy");
    if (figure.hidden) return;
    const noisy = read("noisy"), other = read(name);
    const out = new ImageData(noisy.width, noisy.height);
    for (let i = 0; i < out.data.length; i += 4) {
      for (let c = i; c < i + 3; c += 1) out.data[c] = 128 + 4 * (noisy.data[c] - other.data[c]);
      out.data[i + 3] = 255;
    }
    picture.width = out.width;
    picture.height = out.height;
    picture.getContext("2d").putImageData(out, 0, 0);
    words.textContent = name === "clean" ? "the noise itself" : `by ${layers.get(name).words}`;
    picture.setAttribute("aria-label", `noisy less ${layers.get(name).words}, four times as strong, around grey`);
  }

  async function show() {
    const mine = ++turn;
    gallery.dataset.state = "drawing";
    for (const side of ["left", "right"]) if (!layers.has(chosen[side])) chosen[side] = side === "left" ? "noisy" : "clean";
    for (const side of ["left", "right"]) if (!layers.has(chosen[side])) chosen[side] = [...layers.keys()][0];
    const [left, right] = [layers.get(chosen.left), layers.get(chosen.right)];
    over.src = left.image.src;
    under.src = right.image.src;
    const used = new Set([chosen.left, chosen.right, "noisy", "clean"].filter((name) => layers.has(name)));
    await Promise.all([under.decode(), ...[...used].map((name) => layers.get(name).image.decode())]).catch(() => {});
    if (mine !== turn) return;
    const [width, height] = size();
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.classList.toggle("coarse", width < 200);
    for (const side of ["left", "right"]) {
      tags[side].textContent = layers.get(chosen[side]).words;
      selects[side].value = chosen[side];
    }
    const told = ({ words, score }) => (score ? `${words} ${score}` : words);
    const gain = parseFloat(right.score) - parseFloat(left.score);
    const by = Number.isFinite(gain) ? ` (${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(2)} dB)` : "";
    const known = left.score || right.score;
    scores.textContent = known ? `PSNR of the whole picture: ${told(left)} · ${told(right)}${by}` : "";
    for (const [name, { item }] of layers) item.firstChild.setAttribute("aria-pressed", String(name === chosen.right));
    drawLoupes();
    drawResidual("left");
    drawResidual("right");
    gallery.dataset.state = "drawn";
  }

  function open(index) {
    sample = samples[index];
    layers = layersOf(sample);
    pixels = new Map();
    for (const [i, each] of samples.entries()) each.hidden = i !== index;
    for (const [i, button] of [...picks.children].entries()) button.setAttribute("aria-pressed", String(i === index));
    about.replaceChildren(...[...sample.querySelectorAll(".about, .roles")].map((each) => each.cloneNode(true)));
    for (const select of Object.values(selects))
      select.replaceChildren(...[...layers].map(([name, { words }]) => make("option", { value: name }, words)));
    show();
  }

  for (const [index, each] of samples.entries()) {
    const items = layersOf(each);
    const thumb = (items.get("clean") || [...items.values()][0]).image;
    const button = make("button", { type: "button" }, make("img", { src: thumb.src, alt: "", loading: "lazy" }),
      make("span", {}, each.dataset.short, make("small", {}, each.dataset.role)));
    button.addEventListener("click", () => open(index));
    picks.append(button);
    for (const [name, { item, words }] of items) {
      const choose = make("button", { type: "button", title: `show ${words} on the right` }, ...item.childNodes);
      choose.addEventListener("click", () => { chosen.right = name; show(); });
      item.append(choose);
    }
  }
  for (const side of ["left", "right"])
    selects[side].addEventListener("change", () => { chosen[side] = selects[side].value; show(); });
  range.addEventListener("input", () => slide(range.value));
  const point = (event) => {
    const box = stage.getBoundingClientRect();
    spot = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((value) => Math.min(Math.max(value, 0), 1));
    drawLoupes();
    if (event.buttons || event.type === "pointerdown") slide(100 * spot[0]);
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); point(event); });
  stage.addEventListener("pointermove", point);
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const pace = event.shiftKey ? 1 : 8;
    spot = spot.map((value, i) => Math.min(Math.max(value + (pace * step[i]) / size()[i], 0), 1));
    drawLoupes();
  });
  window.addEventListener("resize", () => { if (gallery.dataset.state === "drawn") drawLoupes(); });
  gallery.classList.add("scripted");
  gallery.prepend(viewer);
  slide(50);
  open(0);
}
const gallery = document.getElementById("gallery");
if (gallery) compareLayers(gallery);
