// A file of requests becomes a batch: it is uploaded, then begun.
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { FileBody } from "../../../docs/reference/openapi";
import { call } from "../api/http";
import { ask } from "../api/routes";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { Choice } from "../parts/field";
import { Notice } from "../parts/notice";

const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"] as const;
type Endpoint = (typeof ENDPOINTS)[number];

async function begin(file: File, endpoint: Endpoint): Promise<string> {
  const body = new FormData();
  body.set("purpose", "batch");
  body.set("file", file, file.name);
  const stored = await call<FileBody>("/v1/files", { method: "POST", body });
  const metadata = { name: file.name };
  const request = { input_file_id: stored.id, endpoint, metadata } as const;
  const made = await ask("POST /v1/batches", { body: { ...request, completion_window: "24h" } });
  return made.id;
}

/** With a file: one button that runs it. Without: the file is chosen first. */
export function Upload({ file, onDone }: { file?: File; onDone: (id: string) => void }) {
  const queries = useQueryClient();
  const [chosen, setChosen] = useState<File | null>(file ?? null);
  const [endpoint, setEndpoint] = useState<Endpoint>("/v1/chat/completions");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const start = async () => {
    if (chosen === null) return;
    setBusy(true);
    try {
      const id = await begin(chosen, endpoint);
      await queries.invalidateQueries({ queryKey: ["batches"] });
      setError(null);
      onDone(id);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="space-y-4">
      {file === undefined && (
        <>
          <label className="block space-y-1">
            <span className="block text-xs text-soft">{t("batches.choose")}</span>
            <input
              type="file"
              accept=".jsonl,application/jsonl"
              onChange={(event) => setChosen(event.target.files?.[0] ?? null)}
              className="w-full file:me-3 file:rounded file:border file:border-line file:bg-transparent file:px-3 file:py-1 file:text-ink"
            />
          </label>
          <Choice
            label={t("batches.endpoint")}
            hint={t("batches.endpoint_hint")}
            value={endpoint}
            onChange={setEndpoint}
            options={ENDPOINTS.map((each) => [each, each] as const)}
          />
        </>
      )}
      {error !== null && <Notice error={error} onDismiss={() => setError(null)} />}
      <Button kind="primary" disabled={chosen === null || busy} onClick={() => void start()}>
        {t(file === undefined ? "batches.start" : "batches.try")}
      </Button>
    </div>
  );
}
