// What the page says of a slice or a study: the values of its sentences. Pure; words.py is its twin.

const NEEDS_REVIEW = "needs_review";
const NOT_A_KIDNEY_CT = "not_a_kidney_ct";

/** Return a probability, 0 to 1, as whole percent that never claims certainty. */
export function percent(probability) {
  if (probability < 0.01) return "under 1 %";
  if (probability > 0.99) return "over 99 %";
  return `${Math.round(probability * 100)} %`;
}

export function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return the classes that can be suspected: all but "normal". */
export function findings(card) {
  return card.classes.filter((name) => name !== "normal");
}

export function isForeign(prediction) {
  return prediction.decision === NOT_A_KIDNEY_CT;
}

export function needsReview(prediction) {
  return prediction.decision === NEEDS_REVIEW;
}

export function isSuspicious(prediction) {
  return !isForeign(prediction) && prediction.suspected.length > 0;
}

/** Return the values for one slice. `prediction` is as the API answers, `card` as /api/v1/model. */
export function sliceWords(prediction, card) {
  const named = (classes) => classes.map((name) => card.names[name]).join(", ");
  const foreign = isForeign(prediction);
  const unsure = needsReview(prediction);
  const reviewBelow = card.rules.review_below;
  const several = prediction.set.length > 1;
  const rest = findings(card).filter((name) => !prediction.suspected.includes(name));
  return {
    foreign,
    unsure,
    sure: !foreign && !unsure,
    label: card.names[prediction.label],
    probability: percent(prediction.probabilities[prediction.label]),
    scope: "this slice",
    none_stand: unsure && reviewBelow > 1,
    below: unsure && reviewBelow <= 1 ? percent(reviewBelow) : "",
    suspected: foreign ? "" : named(prediction.suspected),
    not_suspected: foreign ? "" : named(rest),
    apart: several && !foreign ? named(prediction.set) : "",
    alone: !several && !foreign,
    one: true,
  };
}

/** Return the values for a study; `predictions` are those of its slices, in order. */
export function studyWords(study, predictions, card) {
  const total = predictions.length;
  const skipped = skippedWords(study.skipped ?? []);
  if (total === 1) return { ...sliceWords(predictions[0], card), skipped };
  const alone = sliceWords({ ...study, set: [study.label], suspected: [] }, card);
  const foreign = alone.foreign;
  const counted = predictions.filter((prediction) => !isForeign(prediction));
  const on = (name) => counted.filter((prediction) => prediction.suspected.includes(name)).length;
  const seen = findings(card).filter((name) => on(name) > 0);
  const rest = findings(card).filter((name) => on(name) === 0);
  const leftOut = total - counted.length;
  const unsure = predictions.filter(needsReview).length;
  return {
    ...alone,
    foreign: false,
    foreign_study: foreign,
    count: `${total} slices`,
    scope: `these ${total} slices`,
    suspected: seen.map((name) => `${card.names[name]} (${on(name)} of ${total} slices)`).join(", "),
    not_suspected: foreign ? "" : rest.map((name) => card.names[name]).join(", "),
    some_foreign: leftOut && !foreign ? `${leftOut} of ${total} slices` : "",
    some_unsure: unsure && !alone.unsure ? `${unsure} of ${total} slices` : "",
    apart: "",
    alone: false,
    one: false,
    many: true,
    skipped,
  };
}

function skippedWords(skipped) {
  if (skipped.length === 0) return "";
  const shown = skipped.slice(0, 3).map(({ file, reason }) => `file ${file} (${reason})`);
  const more = skipped.length - shown.length;
  return `${shown.join(", ")}${more ? ` and ${more} more` : ""}.`;
}
