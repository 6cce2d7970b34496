// The visible texts within an element: how many there are, and those whose contrast (WCAG 2.2) is
// less than 4.5. Behind a text are the backgrounds of its ancestors; in a picture, the shapes below.
(root) => {
  const brush = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const colors = new Map();
  const faint = new Set();
  let number = 0;

  function channels(color) {
    if (!colors.has(color)) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = color;
      brush.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
      colors.set(color, [r, g, b, a / 255]);
    }
    return colors.get(color);
  }

  function over([r, g, b, a], below) {
    return [...[r, g, b].map((value, i) => value * a + below[i] * (1 - a)), 1];
  }

  function background(element) {
    if (element === null) return [255, 255, 255, 1];
    const own = channels(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, background(element.parentElement));
  }

  function filled(element) {
    const { fill, fillOpacity } = getComputedStyle(element);
    const [r, g, b, a] = fill === "none" ? [0, 0, 0, 0] : channels(fill);
    return [r, g, b, a * fillOpacity * opacity(element)];
  }

  function opacity(element) {
    return element === null
      ? 1 : getComputedStyle(element).opacity * opacity(element.parentElement);
  }

  function behind(text) {
    const below = background(text);
    if (!(text instanceof SVGElement)) return below;
    const { left, right, top, bottom } = text.getBoundingClientRect();
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    return [...text.ownerSVGElement.querySelectorAll("rect, path")].filter((shape) => {
      const box = shape.getBoundingClientRect();
      const earlier = shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
      return earlier && box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
    }).reduce((color, shape) => over(filled(shape), color), below);
  }

  function written(text) {
    if (text instanceof SVGElement) return filled(text);
    const [r, g, b, a] = channels(getComputedStyle(text).color);
    return [r, g, b, a * opacity(text)];
  }

  function luminance(color) {
    const [r, g, b] = color.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  const nodes = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    const text = nodes.currentNode.data.trim();
    const element = nodes.currentNode.parentElement;
    const visible = { opacityProperty: true, visibilityProperty: true };
    if (!text || !element.getClientRects().length) continue;
    if (!element.checkVisibility(visible)) continue;
    number += 1;
    const below = behind(element);
    const pair = [over(written(element), below), below];
    const [low, high] = pair.map(luminance).sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) {
      const rgb = pair.map((color) => `rgb(${color.slice(0, 3).map(Math.round)})`);
      const kind = [element.localName, ...element.classList].join(".");
      faint.add(`${contrast.toFixed(2)} ${rgb.join(" on ")}, ${kind}: ${text.slice(0, 30)}`);
    }
  }
  return { number, faint: [...faint] };
}
