{{- define "facemend.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Labels that select the pods of a part. Call with (dict "root" $ "part" "api"). */ -}}
{{- define "facemend.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "facemend.labels" -}}
{{ include "facemend.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- /* Call with (dict "root" $ "name" .Values.image.api). */ -}}
{{- define "facemend.image" -}}
{{- printf "%s%s:%s" .root.Values.image.registry .name (.root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}

{{- /* The image of a worker; docker-bake.json names the one for GPUs. Call with (dict "root" $ "pool" $pool). */ -}}
{{- define "facemend.workerImage" -}}
{{- $tag := .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- $tag = ternary (printf "%s-gpu" $tag) $tag (gt (int .pool.gpus) 0) -}}
{{- printf "%s%s:%s" .root.Values.image.registry .root.Values.image.worker (.pool.tag | default $tag) -}}
{{- end -}}

{{- define "facemend.secret" -}}
{{- .Values.secret.existing | default (include "facemend.name" .) -}}
{{- end -}}

{{- define "facemend.podSecurity" -}}
automountServiceAccountToken: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "facemend.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The name by which jobs are routed to a pool. Call with a pool. */ -}}
{{- define "facemend.pool" -}}
{{- ternary .name "default" (default false .ownQueues) -}}
{{- end -}}

{{- /* Which pools serve which model, if a pool has queues of its own: the API routes jobs by it. */ -}}
{{- define "facemend.modelPools" -}}
{{- $pools := dict -}}
{{- $own := false -}}
{{- range $pool := .Values.worker.pools -}}
{{- $own = or $own (default false $pool.ownQueues) -}}
{{- range $model := $pool.models -}}
{{- $_ := set $pools $model (append (get $pools $model | default list) (include "facemend.pool" $pool) | uniq) -}}
{{- end -}}
{{- end -}}
{{- $pairs := list -}}
{{- range $model, $names := $pools -}}
{{- $pairs = append $pairs (printf "%s=%s" $model (join "+" $names)) -}}
{{- end -}}
{{- if and $own (not (hasKey .Values.settings "MODEL_POOLS")) -}}
FACEMEND_MODEL_POOLS: {{ join "," $pairs | quote }}
{{- end -}}
{{- end -}}

{{- /* The settings of every process. */ -}}
{{- define "facemend.envFrom" -}}
envFrom:
  - configMapRef: {name: {{ include "facemend.name" . }}}
  - secretRef: {name: {{ include "facemend.secret" . }}}
{{- end -}}

{{- /* The settings of one pool, as items of env. Call with a pool. */ -}}
{{- define "facemend.poolSettings" -}}
{{- range $key, $value := .settings }}
- {name: FACEMEND_{{ $key }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- /* Pods start again when the settings change. */ -}}
{{- define "facemend.podAnnotations" -}}
facemend.dev/settings: {{ include (print .Template.BasePath "/settings.yaml") . | sha256sum }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Spread the pods of a part over nodes. */ -}}
{{- define "facemend.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "facemend.selector" . | nindent 8 }}
{{- end -}}
