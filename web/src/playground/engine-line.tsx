// The model server beside a run, as it is now: how many answers it writes in one batch, how many
// wait (this run among them until its prompt is being read), how much of its memory for contexts is
// in use, and how much of all prompts it knew already.
import { duration } from "../language/format";
import { t } from "../language/t";
import { useUpstreams } from "../models/queries";
import { share } from "../models/upstreams";

const EVERY_MS = 1_000;

export function EngineLine({
  model,
  running,
  queued,
}: {
  model: string | null;
  running: boolean;
  /** No sign of this run yet: it may stand in the server's queue. */
  queued: boolean;
}) {
  const { data } = useUpstreams(EVERY_MS, running);
  if (!running || model === null) return null;
  const loads = (data?.data ?? []).flatMap((each) =>
    each.load && each.models.includes(model) ? [{ name: each.name, ...each.load }] : [],
  );
  return (
    <>
      {loads.map((load) => (
        <p key={load.name} className="text-xs text-soft" data-engine="">
          {[
            load.name,
            t("engine.batch", { count: load.running }),
            load.waiting > 0 &&
              t(queued ? "engine.queued" : "engine.waiting", { count: load.waiting }),
            t("engine.kv", { share: share(load.kv_share) }),
            t("engine.prefix", { share: share(load.prefix_hit_share) }),
            load.first_token_seconds > 0 &&
              t("engine.first", { time: duration(load.first_token_seconds * 1000) }),
          ]
            .filter(Boolean)
            .join(" · ")}
        </p>
      ))}
    </>
  );
}
