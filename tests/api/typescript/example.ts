// Find the faces of a photo, restore some of them, and receive the webhook. The types are made from
// /openapi.json; fields with defaults are optional in requests:
//   npx openapi-typescript https://…/openapi.json --default-non-nullable=false -o facemend.d.ts
import type { components, paths, webhooks } from "./facemend";

type Detection = components["schemas"]["Detection"];
type Restoration = components["schemas"]["Restoration"];
type Problem = components["schemas"]["Problem"];
type Submission = paths["/v1/restorations"]["post"]["requestBody"]["content"]["application/json"];
type Succeeded =
  webhooks["restoration.succeeded"]["post"]["requestBody"]["content"]["application/json"];

async function call<Resource>(url: string, key: string, init: RequestInit = {}): Promise<Resource> {
  const response = await fetch(url, { ...init, headers: { Authorization: `Bearer ${key}` } });
  if (!response.ok) {
    const problem = (await response.json()) as Problem;
    throw new Error(`${problem.code}: ${problem.detail}`);
  }
  return (await response.json()) as Resource;
}

export async function restoreLargeFaces(service: string, key: string, photo: string) {
  const body = JSON.stringify({ input: { key: photo } });
  const found = await call<Detection>(`${service}/v1/detections`, key, { method: "POST", body });
  const url = `${service}/v1/detections/${found.id}?wait=60`;
  const faces = (await call<Detection>(url, key)).result?.faces ?? [];
  const indexes = faces.filter((face) => face.size > 40 && !face.sharp).map((face) => face.index);
  const submission: Submission = {
    input: { key: photo },
    options: { faces: { detection_id: found.id, indexes }, strength: 0.9 },
    output: { format: "png" },
  };
  const job = await call<Restoration>(`${service}/v1/restorations`, key, {
    method: "POST",
    body: JSON.stringify(submission),
  });
  return (await call<Restoration>(`${service}/v1/restorations/${job.id}?wait=60`, key)).result;
}

export function received(event: Succeeded): string {
  const { id, result, timings_ms } = event.data;
  return `${event.type} ${id}: ${result?.faces.length ?? 0} faces in ${timings_ms["total"]} ms`;
}
