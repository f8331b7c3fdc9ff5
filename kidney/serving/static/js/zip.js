// Pictures inside of a zip that was chosen, to be drawn here. The server reads the archive for itself.

import "../vendor/fflate-0.8.3.min.js"; // sets self.fflate; its workers would need a wider CSP

const JUNK = new Set([".DS_Store", "Thumbs.db", "desktop.ini"]);

const known = new WeakMap(); // file -> promise of the slices in it

/** Return the frame-th slice (from 1) of a zip, as the server counts them. */
export async function sliceInZip(file, frame) {
  if (!known.has(file)) known.set(file, slicesIn(file));
  return (await known.get(file))[frame - 1];
}

async function slicesIn(file) {
  const names = []; // in the order of the archive's directory, which members of an object lose
  const contents = self.fflate.unzipSync(new Uint8Array(await file.arrayBuffer()), {
    filter: ({ name }) => wanted(name) && names.push(name),
  });
  return names.map((name) => contents[name]).filter(isSlice).map((bytes) => new Blob([bytes]));
}

export async function isZip(file) {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
}

function wanted(name) {
  const parts = name.split("/");
  const last = parts.at(-1);
  return last !== "" && !parts.includes("__MACOSX") && !JUNK.has(last) && !last.startsWith("._");
}

function isSlice(start) {
  const jpeg = start[0] === 0xff && start[1] === 0xd8;
  const png = start[0] === 0x89 && start[1] === 0x50;
  const tiff = [0x49, 0x4d].includes(start[0]) && start[0] === start[1];
  const dicom = String.fromCharCode(...start.slice(128, 132)) === "DICM";
  return jpeg || png || tiff || dicom;
}
