// Where a key or a jump leads in a series of slices. Pure; positions count from 0.

import { isSuspicious } from "./words.js";

const FAR = 10;

/** Return the position that a key leads to, or null where the key is none of the viewer's. */
export function afterKey(key, position, count) {
  const moves = {
    ArrowDown: position + 1,
    ArrowRight: position + 1,
    ArrowUp: position - 1,
    ArrowLeft: position - 1,
    PageDown: position + FAR,
    PageUp: position - FAR,
    Home: 0,
    End: count - 1,
  };
  return key in moves ? within(moves[key], count) : null;
}

export function within(position, count) {
  return Math.min(Math.max(position, 0), count - 1);
}

/** Return the next suspicious slice in a direction (1 or -1), going round; null where there is none. */
export function nextSuspicious(predictions, position, direction) {
  const count = predictions.length;
  for (let step = 1; step <= count; step += 1) {
    const at = (((position + direction * step) % count) + count) % count;
    if (isSuspicious(predictions[at])) return at;
  }
  return null;
}
