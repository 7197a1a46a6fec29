// Bitmaps: a byte a pixel, and the brush's rule in whole numbers, the same as the server's.

export class Mask {
  constructor(left, top, width, height, pixels = new Uint8Array(width * height)) {
    Object.assign(this, { left, top, width, height, pixels });
  }

  static fromJson({ origin, size, bits }) {
    const [width, height] = size;
    const mask = new Mask(origin[0], origin[1], width, height);
    const packed = Uint8Array.from(atob(bits), (letter) => letter.charCodeAt(0));
    for (let i = 0; i < mask.pixels.length; i += 1) mask.pixels[i] = (packed[i >> 3] >> (7 - (i & 7))) & 1;
    return mask;
  }

  has(col, row) {
    const x = col - this.left;
    const y = row - this.top;
    return x >= 0 && y >= 0 && x < this.width && y < this.height && this.pixels[y * this.width + x] === 1;
  }

  // A canvas of the pixels in one color; made once.
  canvas([red, green, blue]) {
    const key = `${red},${green},${blue}`;
    if (this.drawn?.key === key) return this.drawn.canvas;
    const canvas = document.createElement('canvas');
    canvas.width = this.width;
    canvas.height = this.height;
    const context = canvas.getContext('2d');
    const image = context.createImageData(this.width, this.height);
    const words = new Uint32Array(image.data.buffer);
    const word = (255 << 24) | (blue << 16) | (green << 8) | red;
    for (let i = 0; i < this.pixels.length; i += 1) if (this.pixels[i]) words[i] = word;
    context.putImageData(image, 0, 0);
    this.drawn = { key, canvas };
    return canvas;
  }
}

// Beyond this, products of two distances would not be exact in doubles.
const LONGEST = 1000;

// A path of pixels with long segments cut, so that each can be computed exactly.
export function steps(path) {
  const out = [path[0]];
  for (const [x, y] of path.slice(1)) {
    const [x0, y0] = out[out.length - 1];
    const pieces = Math.ceil(Math.max(Math.abs(x - x0), Math.abs(y - y0)) / LONGEST);
    for (let i = 1; i < pieces; i += 1) {
      out.push([x0 + Math.round(((x - x0) * i) / pieces), y0 + Math.round(((y - y0) * i) / pieces)]);
    }
    if (pieces) out.push([x, y]);
  }
  return out;
}

function isNear(x, y, dx, dy, size) {
  const norm = dx * dx + dy * dy;
  const along = x * dx + y * dy;
  if (along <= 0) return 4 * (x * x + y * y) <= size * size;
  if (along >= norm) return 4 * ((x - dx) ** 2 + (y - dy) ** 2) <= size * size;
  const across = x * dy - y * dx;
  return 4 * across * across <= size * size * norm;
}

// The pixels of an image whose centers lie within size / 2 of a path of pixels; null where there are none.
export function strokeMask(path, size, width, height) {
  const reach = Math.floor(size / 2);
  const xs = path.map(([x]) => x);
  const ys = path.map(([, y]) => y);
  const left = Math.max(0, Math.min(...xs) - reach);
  const top = Math.max(0, Math.min(...ys) - reach);
  const right = Math.min(width, Math.max(...xs) + reach + 1);
  const bottom = Math.min(height, Math.max(...ys) + reach + 1);
  if (left >= right || top >= bottom) return null;
  const mask = new Mask(left, top, right - left, bottom - top);
  const ends = path.length > 1 ? path.slice(1) : path;
  ends.forEach(([x1, y1], i) => {
    const [x0, y0] = path[i];
    const first = [Math.max(left, Math.min(x0, x1) - reach), Math.max(top, Math.min(y0, y1) - reach)];
    const last = [Math.min(right, Math.max(x0, x1) + reach + 1), Math.min(bottom, Math.max(y0, y1) + reach + 1)];
    for (let row = first[1]; row < last[1]; row += 1) {
      for (let col = first[0]; col < last[0]; col += 1) {
        if (isNear(col - x0, row - y0, x1 - x0, y1 - y0, size)) {
          mask.pixels[(row - top) * mask.width + col - left] = 1;
        }
      }
    }
  });
  return mask;
}
