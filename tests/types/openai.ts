// Compiled, never run: a program that has OpenAI's types takes what `model.openai` gives.
import type { OpenAI } from 'openai';
import type { Model } from '../../glue/model/interface.js';

export async function program(model: Model, stream: boolean): Promise<OpenAI.ChatCompletion> {
  const { openai } = model;
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'hi' }];
  const tools: OpenAI.ChatCompletionTool[] = [{ type: 'function', function: { name: 'f' } }];
  const whole: OpenAI.ChatCompletion = await openai.chat.completions.create({
    model: 'any',
    messages,
    tools,
    max_completion_tokens: 5,
  });
  const chunks = await openai.chat.completions.create({ model: 'any', messages, stream: true });
  for await (const chunk of chunks) {
    const one: OpenAI.ChatCompletionChunk = chunk;
    void one.choices[0]?.delta.content?.length;
  }
  const either = await openai.chat.completions.create({ model: 'any', messages, stream });
  void either;
  const text: OpenAI.Completion = await openai.completions.create({ model: 'any', prompt: 'a' });
  const vectors: OpenAI.CreateEmbeddingResponse = await openai.embeddings.create({
    model: 'any',
    input: ['a'],
  });
  const entries: OpenAI.Model[] = (await openai.models.list()).data;
  void [text, vectors, entries];
  return whole;
}
