// Hounsfield units to grey, as kidney/imaging/windows.py does it (DICOM PS3.3 C.11.2.1.2). Pure.

export const MIN_HU = -1024;
export const MAX_HU = 3071;

/** Return the grey, 0 to 255, of every value from MIN_HU to MAX_HU through a window. */
export function greyTable(center, width) {
  const table = new Uint8ClampedArray(MAX_HU - MIN_HU + 1); // rounds half to even, as numpy does
  for (let at = 0; at < table.length; at += 1) {
    table[at] = 255 * ((at + MIN_HU - (center - 0.5)) / (width - 1) + 0.5);
  }
  return table;
}

/** Return the greys of a slice of Hounsfield units, Int16Array. */
export function throughWindow(hounsfield, center, width) {
  const table = greyTable(center, width);
  const grey = new Uint8ClampedArray(hounsfield.length);
  for (let at = 0; at < grey.length; at += 1) {
    grey[at] = table[Math.min(Math.max(hounsfield[at], MIN_HU), MAX_HU) - MIN_HU];
  }
  return grey;
}

/** Return Hounsfield units of RGBA pixels in which red * 256 + green = HU + 1024. */
export function hounsfieldOf(pixels) {
  const hounsfield = new Int16Array(pixels.length / 4);
  for (let at = 0; at < hounsfield.length; at += 1) {
    hounsfield[at] = pixels[4 * at] * 256 + pixels[4 * at + 1] + MIN_HU;
  }
  return hounsfield;
}

/** Return the luma (ITU-R 601) of RGBA pixels, as the server reads a colour picture. */
export function lumaOf(pixels) {
  const grey = new Uint8ClampedArray(pixels.length / 4);
  for (let at = 0; at < grey.length; at += 1) {
    const from = 4 * at;
    grey[at] = (pixels[from] * 19595 + pixels[from + 1] * 38470 + pixels[from + 2] * 7471 + 0x8000) >> 16;
  }
  return grey;
}
