// The model servers behind the models: whether they answer, and how busy they are.
export function Upstreams() {
  return null;
}
