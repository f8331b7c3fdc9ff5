// The pixels of a slice: of DICOM from the answer, of a picture from the file that was chosen here.

import { hounsfieldOf, lumaOf } from "./windows.js";
import { isZip, sliceInZip } from "./zip.js";

const LONGEST_SIDE = 1024; // pictures are shrunk to it, as the server shrinks its overlays
const KEPT = 24; // decoded slices; a series of 600 would not fit in the memory of a phone

/** Return a function: position -> promise of {height, width, scale, grey} or {..., hounsfield}. */
export function pixelStore(predictions, files) {
  const kept = new Map();
  return (position) => {
    const known = kept.get(position);
    const found = known ?? decoded(predictions[position], files);
    kept.delete(position); // and again at the end: what was used last goes last
    kept.set(position, found);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return found;
  };
}

async function decoded(prediction, files) {
  const [height, width] = prediction.size;
  if (prediction.hounsfield) {
    const pixels = rgba(await bitmapOf(blobOf(prediction.hounsfield)), 1);
    return { height, width, scale: 1, hounsfield: hounsfieldOf(pixels.data) };
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(height, width));
  try {
    const file = files[prediction.file - 1];
    const picture = (await isZip(file)) ? await sliceInZip(file, prediction.frame) : file;
    const pixels = rgba(await bitmapOf(picture), scale);
    return { height: pixels.height, width: pixels.width, scale, grey: lumaOf(pixels.data) };
  } catch {
    const [tall, wide] = [Math.round(height * scale), Math.round(width * scale)];
    return { height: tall, width: wide, scale, grey: new Uint8ClampedArray(tall * wide), lost: true };
  }
}

function bitmapOf(blob) {
  return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

function rgba(bitmap, scale) {
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function blobOf(dataUrl) {
  const [head, body] = dataUrl.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
