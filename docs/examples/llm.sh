# The command-line tool `llm`: a file that names the model, and a key under a name.
set -eu

cat > "$(llm logs path | xargs dirname)/extra-openai-models.yaml" <<END
- model_id: atelier
  model_name: default
  api_base: $OPENAI_BASE_URL
  api_key_name: atelier
  supports_tools: true
  supports_schema: true
END
llm keys set atelier --value "$OPENAI_API_KEY"

llm -m atelier "What is 3 + 4?"
llm -m atelier --schema "name, age int" "Ada is 36 years old. Write this as JSON."
