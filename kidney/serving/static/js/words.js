// The values of the sentences on a slice or a series. Pure; kidney/serving/web.py does the same.

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
  return wordsOf(prediction, prediction.set, prediction.suspected, card);
}

/** Return the values for a series; `predictions` are those of its slices, in order. */
export function seriesWords(series, predictions, card) {
  const total = predictions.length;
  const skipped = skippedWords(series.skipped);
  if (total === 1) return { ...sliceWords(predictions[0], card), skipped };
  const alone = wordsOf(series, [], [], card);
  const { needs_review: unsure, not_a_kidney_ct: leftOut } = series.counts;
  const suspects = predictions[0].findings && !alone.foreign ? series.findings.filter((one) => one.suspected) : null;
  const [seen, rest] = suspects ? located(suspects, series, card) : counted(series, total, card);
  const names = alone.unsure ? (suspects ?? []).map((one) => card.names[one.finding]) : [];
  return {
    ...alone,
    foreign: false,
    foreign_series: alone.foreign,
    found: capitalised(names.join(" and ")),
    undecided: alone.unsure && names.length === 0,
    below: names.length ? "" : alone.below,
    count: `${total} slices`,
    scope: `these ${total} slices`,
    suspected: alone.foreign ? "" : seen.join("; "),
    not_suspected: alone.foreign ? "" : rest.join(", "),
    some_foreign: leftOut && !alone.foreign ? `${leftOut} of ${total} slices` : "",
    some_unsure: unsure && !alone.unsure ? `${unsure} of ${total} slices` : "",
    one: false,
    many: true,
    pictures: series.kind === "pictures",
    skipped,
  };
}

/** Return what is suspected, with its place, and what is not: of models with a map for each finding. */
function located(suspects, { findings }, card) {
  const rest = findings.filter((one) => !one.suspected).map((one) => card.names[one.finding]);
  return [suspects.map((one) => one.text), rest];
}

function counted(series, total, card) {
  const found = Object.entries(series.suspected);
  const seen = found.filter(([, on]) => on > 0).map(([name, on]) => `${card.names[name]} (${on} of ${total} slices)`);
  return [seen, found.filter(([, on]) => on === 0).map(([name]) => card.names[name])];
}

function wordsOf(said, possible, suspected, card) {
  const named = (classes) => classes.map((name) => card.names[name]).join(", ");
  const foreign = isForeign(said);
  const unsure = needsReview(said);
  const reviewBelow = card.rules.review_below;
  const rest = findings(card).filter((name) => !suspected.includes(name));
  return {
    foreign,
    unsure,
    undecided: unsure,
    found: "",
    sure: !foreign && !unsure,
    label: card.names[said.label],
    probability: percent(said.probabilities[said.label]),
    scope: "this slice",
    none_stand: unsure && reviewBelow > 1,
    below: unsure && reviewBelow <= 1 ? percent(reviewBelow) : "",
    suspected: foreign ? "" : named(suspected),
    not_suspected: foreign ? "" : named(rest),
    apart: possible.length > 1 && !foreign ? named(possible) : "",
    alone: possible.length === 1 && !foreign,
    one: true,
  };
}

function skippedWords(skipped) {
  const SHOWN = 3;
  if (skipped.length === 0) return "";
  const shown = skipped.slice(0, SHOWN).map(({ reason }) => reason).join("; ");
  const more = skipped.length - SHOWN;
  return more > 0 ? `${shown}; and ${more} more.` : `${shown}.`;
}
