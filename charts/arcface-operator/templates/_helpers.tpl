{{/* Name of all objects. */}}
{{- define "arcface.name" -}}
{{- $name := .Release.Name }}
{{- if not (contains "arcface-operator" $name) }}{{ $name = printf "%s-arcface-operator" $name }}{{ end }}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* What tells the operator's pods from all others. */}}
{{- define "arcface.selector" -}}
app.kubernetes.io/name: arcface-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of all objects. */}}
{{- define "arcface.labels" -}}
{{- $own := include "arcface.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/component" "operator" }}
{{- $_ = set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ = set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ = set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- merge $own (.Values.commonLabels | default dict) | toYaml }}
{{- end }}

{{/* An image of the map `values`, which lies at `key` and has repository, tag and digest, and the chart's version. */}}
{{- define "arcface.image" -}}
{{- $missing := printf "%s.repository: no registry holds the images: build and push them (docs/install.md), then --set %s.repository=REGISTRY/arcface-%s" .key .key .name }}
{{- $repository := required $missing .values.repository }}
{{- if .values.digest }}{{ $repository }}@{{ .values.digest }}{{ else }}{{ $repository }}:{{ .values.tag | default .version }}{{ end }}
{{- end }}

{{/* The operator's account: its own, one that is there, or the namespace's. */}}
{{- define "arcface.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "arcface.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* The operator's settings: what has a value of its own over what is under `settings`; a key left empty is none. */}}
{{- define "arcface.settings" -}}
{{- $own := dict
  "trainerImage" (include "arcface.image" (dict "values" .Values.trainer "key" "trainer" "name" "trainer" "version" .Chart.AppVersion))
  "resourceName" .Values.ascend.resourceName
  "deviceAnnotation" .Values.ascend.deviceAnnotation
  "chipFamily" .Values.ascend.chipFamily
  "deviceClasses" .Values.ascend.deviceClasses
  "driverMounts" .Values.ascend.driverMounts
  "driverFiles" .Values.ascend.driverFiles
  "fixedUser" (hasKey (.Values.podSecurityContext | default dict) "runAsUser")
-}}
{{- $said := dict }}
{{- range $name, $value := merge $own (.Values.settings | default dict) }}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $said $name $value }}{{ end }}
{{- end }}
{{- toYaml $said }}
{{- end }}

{{/* Binds a role of the operator's name to its account; takes the context, the kind of the role and a namespace. */}}
{{- define "arcface.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "arcface.labels" .context | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ include "arcface.serviceAccount" .context }}
  namespace: {{ .context.Release.Namespace }}
{{- end }}
