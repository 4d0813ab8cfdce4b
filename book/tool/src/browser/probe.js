// Looks at the page that it runs in, and says what a reader would stumble over.
(async () => {
  const still = document.createElement('style');
  still.textContent = '*, *::before, *::after { transition: none !important; animation: none !important; }';
  document.head.append(still);
  for (const details of document.querySelectorAll('details')) details.open = true;
  await document.fonts.ready;
  await new Promise((done) => setTimeout(done, 20));

  const name = (element) => {
    const id = element.id ? '#' + element.id : '';
    const kind = element.classList.length ? '.' + element.classList[0] : '';
    return element.localName + (id || kind);
  };
  const shown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && element.checkVisibility({ visibilityProperty: true });
  };

  // Any colour that CSS can name, as red, green, blue and alpha.
  const context = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
    .getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(color, [r, g, b, a / 255]);
    }
    return known.get(color);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const luminance = (color) => {
    const [r, g, b] = color.map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const layer = rgba(getComputedStyle(e).backgroundColor);
      if (layer[3] > 0) layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
  };

  // WCAG 2.1, 1.4.3: 4.5 to 1, and 3 to 1 for text from 24 px, or 18.7 px and bold.
  const faint = new Map();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim();
    const element = texts.currentNode.parentElement;
    if (!text || element.closest('script, style, noscript, svg') || !shown(element)) continue;
    const style = getComputedStyle(element);
    const paper = behind(element);
    const ink = [...rgba(style.color)];
    for (let e = element; e; e = e.parentElement) ink[3] *= Number(getComputedStyle(e).opacity);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = contrast(over(ink, paper), paper);
    const key = `${name(element)} ${style.color} ${paper}`;
    if (ratio < (large ? 3 : 4.5) - 0.005 && !faint.has(key)) {
      faint.set(key, `contrast ${ratio.toFixed(2)} of ${name(element)}: ${text.slice(0, 40)}`);
    }
  }

  // decode() fails for a broken image; a drawing without a size of its own has no natural width.
  const images = [];
  for (const image of document.querySelectorAll('img')) {
    const drawn = await image.decode().then(() => true, () => false);
    const { width, height } = image.getBoundingClientRect();
    const why = drawn ? `${width} by ${height} px` : 'broken';
    // mdBook's second copy of each image is shown when the first is clicked.
    const zoomed = image.closest('.img-wrapper');
    if (!drawn || (!zoomed && !shown(image))) images.push(`image not visible: ${image.getAttribute('src')} (${why})`);
  }

  // A block that has lost its text.
  const empty = [...document.querySelectorAll('main pre, main blockquote')]
    .filter((element) => !element.textContent.trim())
    .map((element) => `empty ${name(element)}`);

  const width = document.documentElement.clientWidth;
  const scrolled = (element) => {
    for (let e = element.parentElement; e && e.localName !== 'main'; e = e.parentElement) {
      if (getComputedStyle(e).overflowX !== 'visible') return true;
    }
    return false;
  };
  const sticksOut = (element) => {
    const box = element.getBoundingClientRect();
    return (box.right > width + 1 || box.left < -1) && shown(element) && !scrolled(element);
  };
  const wide = [...document.querySelectorAll('main *')]
    .filter((element) => sticksOut(element) && !sticksOut(element.parentElement))
    .map((element) => `wider than the page: ${name(element)}: ${element.textContent.trim().slice(0, 40)}`);
  for (let e = document.querySelector('main'); e; e = e.parentElement) {
    const scrolls = e === document.documentElement
      || ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
    if (scrolls && e.scrollWidth > e.clientWidth + 1) {
      wide.push(`${name(e)} scrolls sideways: ${e.scrollWidth} px of ${e.clientWidth}`);
    }
  }

  return {
    faults: [...faint.values(), ...images, ...empty, ...wide],
    links: [...document.querySelectorAll('a[href]')].map((a) => a.href),
    ids: [...document.querySelectorAll('[id], a[name]')].map((e) => e.id || e.name),
    word: (document.querySelector('main h1')?.textContent ?? '')
      .split(/[^A-Za-z]+/).sort((a, b) => b.length - a.length)[0].toLowerCase(),
  };
})()
