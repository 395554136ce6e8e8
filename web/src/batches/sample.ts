// A batch to begin with: three questions, one line each.
const QUESTIONS = ["Name a colour.", "Name a river.", "Name a fruit."];

export function sampleBatch(model: string): File {
  const lines = QUESTIONS.map((question, place) =>
    JSON.stringify({
      custom_id: `question-${place + 1}`,
      method: "POST",
      url: "/v1/chat/completions",
      body: { model, messages: [{ role: "user", content: question }], max_completion_tokens: 24 },
    }),
  );
  return new File([`${lines.join("\n")}\n`], "sample.jsonl", { type: "application/jsonl" });
}
