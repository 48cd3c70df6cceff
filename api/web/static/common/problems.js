// Problems of the API in plain words: what happened, and what the person can do.

import { has, t } from "./language.js";

// Return {title, text, detail}: the first two for a person, the last one for whoever asks the operator.
export function explain(problem) {
  const code = has(`problem.${problem.code}.title`) ? problem.code : "internal";
  const said = problem.errors?.length ? problem.errors.map((error) => `${error.pointer}: ${error.detail}`).join("; ") : problem.detail;
  const id = problem.requestId ?? problem.request_id ?? "";
  return {
    title: t(`problem.${code}.title`),
    text: t(`problem.${code}.text`),
    detail: [problem.code, said, id].filter(Boolean).join(" · "),
  };
}
