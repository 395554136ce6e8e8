// What the next question of a conversation is asked with.
import { useModel } from "../frame/model";
import { useConversation } from "./queries";
import { readSettings, requestSettings } from "./settings";

/** The model and the settings that a question of this conversation is asked with. */
export function useAsking(conversation: string | null) {
  const { data } = useConversation(conversation);
  const { model, models, asked } = useModel();
  const settings = readSettings(data);
  const chosen = models.find((each) => each.id === settings.model) ?? model;
  return { model: chosen, asked, settings: requestSettings(settings) };
}
