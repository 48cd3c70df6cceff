// The page is a client of the HTTP API like any other: submit, wait, show. No framework, no CDN.

const WAIT_S = 20;
const STAGES = {
  fetching: "Fetching the photo…",
  detecting: "Looking for faces…",
  restoring: "Restoring faces…",
  pasting: "Putting faces back…",
  publishing: "Storing the result…",
};
const PROBLEM_OFFLINE = { title: "The service does not answer", detail: "Check the connection and try again." };

const $ = (id) => document.getElementById(id);
let file = null;
let beforeUrl = null;
let job = null;

$("key").value = sessionStorage.getItem("facemend-key") ?? "";
$("key").addEventListener("input", refresh);
$("photo").addEventListener("change", () => choose($("photo").files[0]));
$("strength").addEventListener("input", () => { $("strength-value").value = `${$("strength").value} %`; });
$("slider").addEventListener("input", () => $("compare").style.setProperty("--cut", `${$("slider").value}%`));
$("form").addEventListener("submit", (event) => { event.preventDefault(); restore(); });
$("cancel").addEventListener("click", () => call("POST", `/v1/restorations/${job.id}/cancel`).catch(showProblem));
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}

function choose(chosen) {
  if (!chosen) return;
  file = chosen;
  $("chosen").textContent = `${file.name}, ${(file.size / 1e6).toFixed(1)} MB`;
  refresh();
}

function refresh() {
  $("submit").disabled = !(file && $("key").value.trim());
}

async function call(method, path, body, onUpload) {
  // XMLHttpRequest, because fetch cannot tell how far an upload is.
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.onload = resolve;
    request.onerror = () => reject(PROBLEM_OFFLINE);
  });
  request.open(method, path);
  request.setRequestHeader("Authorization", `Bearer ${$("key").value.trim()}`);
  if (onUpload) request.upload.onprogress = onUpload;
  request.send(body ?? null);
  await done;
  let answer;
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    throw { title: `The service answered ${request.status}`, detail: "That is no answer this page understands." };
  }
  if (request.status >= 400) throw answer;
  return answer;
}

async function restore() {
  sessionStorage.setItem("facemend-key", $("key").value.trim());
  const photo = file;
  show("working");
  $("submit").disabled = true;
  step("Uploading…", 0);
  try {
    const form = new FormData();
    form.append("request", JSON.stringify({ options: { strength: $("strength").value / 100 } }));
    form.append("image", photo, photo.name);
    job = await call("POST", "/v1/restorations", form, (event) => {
      if (event.lengthComputable) step("Uploading…", (10 * event.loaded) / event.total);
    });
    $("cancel").hidden = false;
    await follow();
    finish(photo);
  } catch (problem) {
    showProblem(problem);
  } finally {
    $("cancel").hidden = true;
    refresh();
  }
}

async function follow() {
  const terminal = ["succeeded", "failed", "canceled"];
  while (!terminal.includes(job.status)) {
    describe();
    // Short asks while it runs, so that the bar moves; a long one while it stands in the queue.
    const pause = new Promise((resolve) => setTimeout(resolve, 400));
    const wait = job.status === "queued" && job.queue?.position > 1 ? WAIT_S : 0;
    job = await call("GET", `/v1/restorations/${job.id}?wait=${wait}`);
    await pause;
  }
}

function describe() {
  const { progress, queue } = job;
  if (job.status === "queued") return step(queue ? `Waiting: place ${queue.position} in the queue…` : "Waiting…", 10);
  let text = progress ? STAGES[progress.stage] : "Starting…";
  if (progress?.stage === "restoring" && progress.faces_total) text = `Restoring face ${Math.min(progress.faces_done + 1, progress.faces_total)} of ${progress.faces_total}…`;
  step(text, 10 + 0.9 * (progress?.percent ?? 0));
}

function step(text, percent) {
  $("stage").textContent = text;
  $("progress").value = percent;
}

function finish(photo) {
  if (job.status === "canceled") return showProblem({ title: "Cancelled", detail: "The photo was not restored." });
  if (job.status === "failed") return showProblem(job.error);
  const { image, faces } = job.result;
  if (beforeUrl) URL.revokeObjectURL(beforeUrl);
  beforeUrl = URL.createObjectURL(photo);
  $("compare").classList.remove("after-only");
  $("before").onerror = () => $("compare").classList.add("after-only"); // TIFF: few browsers show it
  $("before").src = beforeUrl;
  $("after").onerror = () => showProblem({ title: "The picture cannot be shown", detail: "Its address does not answer or has ended; submit the photo again." });
  $("after").src = image.url;
  $("download").href = image.url;
  $("download").textContent = `Download ${image.format.toUpperCase()}, ${(image.bytes / 1e6).toFixed(1)} MB`;
  const restored = faces.filter((face) => face.status === "restored").length;
  const seconds = (job.timings_ms.total / 1000).toFixed(1);
  const done = faces.length ? `${restored} of ${faces.length} face${faces.length === 1 ? "" : "s"} restored` : "No face found";
  $("summary").textContent = `${done} · ${image.width} × ${image.height} px · ${seconds} s · ${job.result.model.name}`;
  list("warnings", job.warnings);
  show("result");
}

function showProblem(problem) {
  $("problem-title").textContent = problem.title ?? "Something went wrong";
  $("problem-detail").textContent = problem.detail === problem.title ? "" : (problem.detail ?? String(problem));
  list("problem-errors", (problem.errors ?? []).map((error) => `${error.pointer}: ${error.detail}`));
  $("problem-id").textContent = problem.request_id ?? job?.id ?? "";
  $("problem-id").parentElement.hidden = !$("problem-id").textContent;
  show("problem");
}

function list(id, lines) {
  $(id).replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

function show(section) {
  for (const id of ["working", "problem", "result"]) $(id).hidden = id !== section;
  $(section).scrollIntoView({ behavior: "smooth", block: "nearest" });
}
