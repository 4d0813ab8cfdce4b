// Looks at an SVG figure by itself: can each text be read on the shape that it lies on?
(() => {
  const canvas = document.createElementNS('http://www.w3.org/1999/xhtml', 'canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const rgba = (color, opacity) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, (a / 255) * Number(opacity)];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const luminance = (color) => {
    const [r, g, b] = color.map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faults = [];
  for (const text of document.querySelectorAll('text')) {
    const box = text.getBoundingClientRect();
    const layers = document.elementsFromPoint(box.left + box.width / 2, box.top + box.height / 2)
      .filter((e) => !e.closest('text') && e.localName !== 'svg')
      .map((e) => getComputedStyle(e))
      .filter((style) => style.fill !== 'none' && !style.fill.startsWith('url'))
      .map((style) => rgba(style.fill, style.fillOpacity));
    const words = text.textContent.trim().slice(0, 40);
    if (!layers.some((layer) => layer[3] === 1)) {
      faults.push(`text without paper below it: ${words}`);
      continue;
    }
    const paper = layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
    const style = getComputedStyle(text);
    const ink = over(rgba(style.fill, style.fillOpacity), paper);
    const [dark, light] = [luminance(ink), luminance(paper)].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.495) faults.push(`contrast ${ratio.toFixed(2)}: ${words}`);
    const outside = box.left < -1 || box.right > document.documentElement.clientWidth + 1;
    if (outside) faults.push(`text leaves the figure: ${words}`);
  }
  return faults;
})()
