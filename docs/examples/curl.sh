# The API without any library. -f fails where the answer is an error; -N shows a stream as it comes.
set -eu

curl -sSf "$OPENAI_BASE_URL/chat/completions" \
  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \
  -d '{"model": "default", "messages": [{"role": "user", "content": "What is 3 + 4?"}]}'
echo

curl -sSfN "$OPENAI_BASE_URL/chat/completions" \
  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \
  -d '{"model": "default", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
