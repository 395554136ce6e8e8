// The model that new messages go to: the person's last choice while it is served, else the first.
import { create } from "zustand";
import type { Model } from "../api/wire";
import { recall, remember } from "../parts/memory";
import { useModels } from "./session";

const useChoice = create<{ id: string | null }>(() => ({ id: recall("model") }));

export function chooseModel(id: string): void {
  remember("model", id);
  useChoice.setState({ id });
}

/** asked: whether the server has said which models there are; before, none is no news. */
export function useModel(): { model: Model | null; models: Model[]; asked: boolean } {
  const { id } = useChoice();
  const { data } = useModels();
  const models = data?.data ?? [];
  const model = models.find((each) => each.id === id) ?? models[0] ?? null;
  return { model, models, asked: data !== undefined };
}
