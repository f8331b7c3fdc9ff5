// Pictures inside of a zip that was chosen, to be drawn here. The server reads the archive for itself.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const DEFLATED = 8;
const JUNK = new Set([".DS_Store", "Thumbs.db", "desktop.ini"]);

const known = new WeakMap(); // file -> promise of the slices in it

/** Return the file of a zip that is the frame-th slice (from 1) as the server counts them. */
export async function sliceInZip(file, frame) {
  if (!known.has(file)) known.set(file, slicesIn(file));
  const { bytes, slices } = await known.get(file);
  return inflated(bytes, slices[frame - 1]);
}

async function slicesIn(file) {
  const bytes = new DataView(await file.arrayBuffer());
  const slices = [];
  for (const entry of entries(bytes)) {
    if (!wanted(entry.name)) continue;
    const start = (await inflated(bytes, entry)).slice(0, 132);
    if (isSlice(new Uint8Array(await start.arrayBuffer()))) slices.push(entry);
  }
  return { bytes, slices };
}

export async function isZip(file) {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
}

/** List the files in the order of the archive's directory. */
function* entries(bytes) {
  let end = bytes.byteLength - 22;
  while (end >= 0 && bytes.getUint32(end, true) !== END) end -= 1;
  let at = bytes.getUint32(end + 16, true);
  for (let left = bytes.getUint16(end + 10, true); left > 0; left -= 1) {
    if (bytes.getUint32(at, true) !== ENTRY) return;
    const length = bytes.getUint16(at + 28, true);
    yield {
      name: new TextDecoder().decode(new Uint8Array(bytes.buffer, at + 46, length)),
      method: bytes.getUint16(at + 10, true),
      size: bytes.getUint32(at + 20, true),
      offset: bytes.getUint32(at + 42, true),
    };
    at += 46 + length + bytes.getUint16(at + 30, true) + bytes.getUint16(at + 32, true);
  }
}

async function inflated(bytes, { method, size, offset }) {
  const start = offset + 30 + bytes.getUint16(offset + 26, true) + bytes.getUint16(offset + 28, true);
  const packed = new Blob([new Uint8Array(bytes.buffer, start, size)]);
  if (method !== DEFLATED) return packed;
  return new Response(packed.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob();
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
