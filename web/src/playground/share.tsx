// The address of a run: made to be copied, and read when the page is opened with one.
import { type ReactNode, useEffect, useState } from "react";
import { chooseModel } from "../frame/model";
import { t } from "../language/t";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { Modal } from "../parts/modal";
import { useBench, useBenchState } from "./bench";
import { readLink, type Shared, writeLink } from "./permalink";
import { isEmpty } from "./script";

export function ShareDialog({
  open,
  onClose,
  model,
}: {
  open: boolean;
  onClose: () => void;
  model: string | null;
}) {
  return (
    <Modal open={open} onClose={onClose} title={t("share.title")}>
      {open && <ShareLink model={model} />}
    </Modal>
  );
}

function ShareLink({ model }: { model: string | null }) {
  const { script, parameters, extras, variables } = useBenchState();
  const [link, setLink] = useState<string | null>("");
  useEffect(() => {
    const shared: Shared = { model, script, parameters, extras, variables };
    void writeLink(shared).then((hash) =>
      setLink(hash && `${window.location.origin}/playground${hash}`),
    );
  }, [model, script, parameters, extras, variables]);
  if (link === null) return <p>{t("share.too_long")}</p>;
  return (
    <div className="space-y-3">
      <p className="text-soft">{t("share.about")}</p>
      <input
        readOnly
        aria-label={t("share.title")}
        value={link}
        onFocus={(event) => event.target.select()}
        className="field w-full px-2 py-1 font-mono text-xs"
      />
      {parameters.seed === "" && <p className="text-xs text-soft">{t("share.no_seed")}</p>}
      <CopyButton text={link} />
    </div>
  );
}

/** Opens the run that the address carries; gives a line that brings back what was there before. */
export function useShared(): ReactNode {
  const bench = useBench();
  const [before, setBefore] = useState<Shared | null>(null);
  useEffect(() => {
    const look = async () => {
      const found = await readLink(window.location.hash);
      if (found === null) return;
      history.replaceState(null, "", window.location.pathname);
      const { script, parameters, extras, variables } = bench.state;
      if (!isEmpty(script)) setBefore({ model: null, script, parameters, extras, variables });
      const { model, ...shared } = found;
      bench.set({ ...shared, counted: null, failure: null, origin: null });
      if (model !== null) chooseModel(model);
    };
    void look();
    const heard = () => void look();
    window.addEventListener("hashchange", heard);
    return () => window.removeEventListener("hashchange", heard);
  }, [bench]);
  if (before === null) return null;
  const { model: _, ...mine } = before;
  return (
    <p className="flex flex-wrap gap-x-4 border-b border-line px-5 py-2 text-xs text-soft">
      {t("share.opened")}
      <Button
        inline
        kind="link"
        onClick={() => {
          bench.set(mine);
          setBefore(null);
        }}
      >
        {t("share.mine")}
      </Button>
      <Button inline onClick={() => setBefore(null)}>
        {t("common.dismiss")}
      </Button>
    </p>
  );
}
