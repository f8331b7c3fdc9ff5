// Evidence over a slice, as kidney/artifact/overlay.py paints it. Pure.

const STEPS = 1023; // of the table of colours

/**
 * Enlarge an evidence map bilinearly to where it lies on a slice.
 *
 * map: rows of numbers; region: top, left, bottom, right in pixels of the slice, may reach beyond it;
 * strongest: the evidence that counts as 1. Returns Float32Array (height * width), 0 to 1.
 */
export function strengthOf(map, region, strongest, height, width) {
  const strength = new Float32Array(height * width);
  if (!(strongest > 0)) return strength;
  const [top, left, bottom, right] = region.map(Math.round);
  const tall = Math.max(1, bottom - top);
  const wide = Math.max(1, right - left);
  const columns = places(wide, map[0].length);
  const rows = places(tall, map.length);
  for (let y = Math.max(0, top); y < Math.min(height, top + tall); y += 1) {
    const [above, below, down] = rows[y - top];
    for (let x = Math.max(0, left); x < Math.min(width, left + wide); x += 1) {
      const [before, after, across] = columns[x - left];
      const upper = map[above][before] * (1 - across) + map[above][after] * across;
      const lower = map[below][before] * (1 - across) + map[below][after] * across;
      const value = (upper * (1 - down) + lower * down) / strongest;
      strength[y * width + x] = Math.min(Math.max(value, 0), 1);
    }
  }
  return strength;
}

/** For each of `count` pixels: the two cells of `cells` that it lies between, and how far. */
function places(count, cells) {
  return Array.from({ length: count }, (_, at) => {
    const place = Math.min(Math.max(((at + 0.5) * cells) / count - 0.5, 0), cells - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, cells - 1), place - first];
  });
}

/** Return colours, weak to strong, as a flat table of red, green and blue. `ramp`: [[r, g, b], ...]. */
export function colourTable(ramp) {
  const table = new Float32Array(3 * (STEPS + 1));
  for (let step = 0; step <= STEPS; step += 1) {
    const place = (step / STEPS) * (ramp.length - 1);
    const first = Math.min(Math.floor(place), ramp.length - 2);
    for (let channel = 0; channel < 3; channel += 1) {
      const from = ramp[first][channel];
      table[3 * step + channel] = from + (ramp[first + 1][channel] - from) * (place - first);
    }
  }
  return table;
}

/** Return RGBA pixels: the grey slice, covered by colour as far as strength and opacity go. */
export function painted(grey, strength, opacity, colours) {
  const pixels = new Uint8ClampedArray(4 * grey.length);
  for (let at = 0; at < grey.length; at += 1) {
    const alpha = opacity * strength[at];
    const colour = 3 * Math.round(strength[at] * STEPS);
    for (let channel = 0; channel < 3; channel += 1) {
      pixels[4 * at + channel] = (1 - alpha) * grey[at] + alpha * colours[colour + channel];
    }
    pixels[4 * at + 3] = 255;
  }
  return pixels;
}

/** Return RGBA pixels of a grey slice. */
export function plain(grey) {
  const pixels = new Uint8ClampedArray(4 * grey.length).fill(255);
  for (let at = 0; at < grey.length; at += 1) {
    pixels[4 * at] = pixels[4 * at + 1] = pixels[4 * at + 2] = grey[at];
  }
  return pixels;
}
