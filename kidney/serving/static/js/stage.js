// A slice and its evidence on two canvases.

import { colourTable, painted, plain, strengthOf } from "./evidence.js";
import { throughWindow } from "./windows.js";

/**
 * Return {original, overlay}: ImageData of one slice.
 *
 * pixels: as pixels.js decodes them; maps: `evidence_maps` of the answer; look: {className, opacity,
 * window: [center, width]}; colours: as `colourTable` makes them.
 */
export function pictures(pixels, maps, look, colours) {
  const { height, width, scale } = pixels;
  const grey = greys(pixels, look);
  const region = (maps.region ?? [0, 0, height / scale, width / scale]).map((end) => end * scale);
  const strength = strengthOf(maps.maps[look.className], region, maps.strongest, height, width);
  return {
    original: new ImageData(plain(grey), width, height),
    overlay: new ImageData(painted(grey, strength, look.opacity, colours), width, height),
  };
}

export function greys(pixels, look) {
  return pixels.hounsfield ? throughWindow(pixels.hounsfield, ...look.window) : pixels.grey;
}

/** Show ImageData on a canvas in its own size. */
export function show(canvas, image) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Paint the legend: weak to strong, as the overlay would cover a middle grey. */
export function showLegend(canvas, ramp, opacity) {
  const strength = Float32Array.from({ length: canvas.width }, (_, at) => (at + 1) / canvas.width);
  const grey = new Uint8ClampedArray(canvas.width).fill(112);
  show(canvas, new ImageData(painted(grey, strength, opacity, colourTable(ramp)), canvas.width, 1));
}

/** Tell whether any place of the slice speaks for a class. */
export function hasEvidence(maps, className) {
  return maps.strongest > 0 && maps.maps[className].some((row) => row.some((value) => value > 0));
}
