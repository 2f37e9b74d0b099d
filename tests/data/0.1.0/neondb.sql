--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: access_tokens; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.access_tokens (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    token_hash text NOT NULL COLLATE pg_catalog."C",
    scope text NOT NULL COLLATE pg_catalog."C",
    user_id bigint,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT access_tokens_created_at_timestamp CHECK (((created_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (created_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT access_tokens_name_length CHECK ((length(name) <= 200)),
    CONSTRAINT access_tokens_name_not_blank CHECK ((TRIM(BOTH FROM name) <> ''::text)),
    CONSTRAINT access_tokens_name_one_line CHECK ((name !~ '[\u0001-\u001f\u007f-\u009f]'::text)),
    CONSTRAINT access_tokens_scope_known CHECK ((scope = ANY (ARRAY['read'::text, 'write'::text]))),
    CONSTRAINT access_tokens_token_hash_length CHECK ((length(token_hash) = 64))
);


--
-- Name: access_tokens_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.access_tokens ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.access_tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: taskdb_alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.taskdb_alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: tasks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tasks (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    external_id text COLLATE pg_catalog."C",
    title text NOT NULL COLLATE pg_catalog."C",
    description text COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    priority smallint NOT NULL,
    due_at timestamp with time zone,
    completed_at timestamp with time zone,
    version integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT tasks_completed_at_timestamp CHECK (((completed_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (completed_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT tasks_completed_when_done CHECK (((status = 'done'::text) = (completed_at IS NOT NULL))),
    CONSTRAINT tasks_created_at_timestamp CHECK (((created_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (created_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT tasks_description_length CHECK ((length(description) <= 20000)),
    CONSTRAINT tasks_description_plain_text CHECK ((description !~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]'::text)),
    CONSTRAINT tasks_due_at_timestamp CHECK (((due_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (due_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT tasks_external_id_length CHECK ((length(external_id) <= 200)),
    CONSTRAINT tasks_external_id_not_blank CHECK ((TRIM(BOTH FROM external_id) <> ''::text)),
    CONSTRAINT tasks_external_id_one_line CHECK ((external_id !~ '[\u0001-\u001f\u007f-\u009f]'::text)),
    CONSTRAINT tasks_priority_known CHECK (((priority >= 1) AND (priority <= 4))),
    CONSTRAINT tasks_status_known CHECK ((status = ANY (ARRAY['todo'::text, 'in_progress'::text, 'done'::text, 'cancelled'::text]))),
    CONSTRAINT tasks_title_length CHECK ((length(title) <= 500)),
    CONSTRAINT tasks_title_not_blank CHECK ((TRIM(BOTH FROM title) <> ''::text)),
    CONSTRAINT tasks_title_one_line CHECK ((title !~ '[\u0001-\u001f\u007f-\u009f]'::text)),
    CONSTRAINT tasks_updated_at_timestamp CHECK (((updated_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT tasks_version_positive CHECK ((version >= 1))
);


--
-- Name: tasks_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.tasks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.tasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: users; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.users (
    id bigint NOT NULL,
    email text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    is_active boolean NOT NULL,
    version integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT users_created_at_timestamp CHECK (((created_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (created_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT users_email_length CHECK ((length(email) <= 254)),
    CONSTRAINT users_email_lower CHECK ((email !~ '[A-Z]'::text)),
    CONSTRAINT users_email_not_blank CHECK ((TRIM(BOTH FROM email) <> ''::text)),
    CONSTRAINT users_email_one_line CHECK ((email !~ '[\u0001-\u001f\u007f-\u009f]'::text)),
    CONSTRAINT users_name_length CHECK ((length(name) <= 200)),
    CONSTRAINT users_name_not_blank CHECK ((TRIM(BOTH FROM name) <> ''::text)),
    CONSTRAINT users_name_one_line CHECK ((name !~ '[\u0001-\u001f\u007f-\u009f]'::text)),
    CONSTRAINT users_updated_at_timestamp CHECK (((updated_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT users_version_positive CHECK ((version >= 1))
);


--
-- Name: users_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.users ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Data for Name: access_tokens; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.access_tokens OVERRIDING SYSTEM VALUE VALUES (1, 'dashboard', '9ea6b818719b8c4c432a007c32687a2763cbf4b1cc5571accd691cf8922d9399', 'read', NULL, '2026-11-27 17:33:45.931234+00');
INSERT INTO public.access_tokens OVERRIDING SYSTEM VALUE VALUES (2, '7', '489d8dd16f104964ef7142291eac413146d45d33a1057a07023167df25dc1bb7', 'write', 5, '2026-11-27 17:33:46.311517+00');


--
-- Data for Name: taskdb_alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.taskdb_alembic_version VALUES ('0003');


--
-- Data for Name: tasks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (3, 2, NULL, 'Task 1 ✓', '', 'in_progress', 1, NULL, NULL, 1, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:31:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (6, 5, 'ext-2', 'Task 2 ✓', 'tab	here', 'done', 2, NULL, '2026-11-20 10:30:00.123456+00', 2, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:32:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (9, 1, NULL, 'Task 3 ✓', 'line one
line two', 'cancelled', 3, '2026-11-23 08:30:00.123456+00', NULL, 3, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:33:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (12, 2, 'ext-4', 'Task 4 ✓', 'back\slash \N \.', 'todo', 2, NULL, NULL, 4, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:34:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (15, 5, NULL, '\t 5', 'naïve – 日本語 – 😀', 'in_progress', 1, NULL, NULL, 5, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:35:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (18, 1, 'ext-6', 'Task 6 ✓', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'done', 2, '2026-11-26 08:30:00.123456+00', '2026-11-20 14:30:00.123456+00', 6, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:36:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (21, 2, NULL, 'Task 7 ✓', '', 'cancelled', 3, NULL, NULL, 7, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:37:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (24, 5, 'ext-8', 'Task 8 ✓', '', 'todo', 2, NULL, NULL, 8, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:38:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (27, 1, NULL, 'Task 9 ✓', 'tab	here', 'in_progress', 1, '2026-11-29 08:30:00.123456+00', NULL, 9, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:39:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (30, 2, 'ext-10', '\t 10', 'line one
line two', 'done', 2, NULL, '2026-11-20 18:30:00.123456+00', 10, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:40:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (33, 5, NULL, 'Task 11 ✓', 'back\slash \N \.', 'cancelled', 3, NULL, NULL, 11, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:41:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (36, 1, 'ext-12', 'Task 12 ✓', 'naïve – 日本語 – 😀', 'todo', 2, '2026-12-02 08:30:00.123456+00', NULL, 12, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:42:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (39, 2, NULL, 'Task 13 ✓', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'in_progress', 1, NULL, NULL, 13, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:43:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (42, 5, 'ext-14', 'Task 14 ✓', '', 'done', 2, NULL, '2026-11-20 22:30:00.123456+00', 14, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:44:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (45, 1, NULL, '\t 15', '', 'cancelled', 3, '2026-12-05 08:30:00.123456+00', NULL, 15, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:45:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (48, 2, 'ext-16', 'Task 16 ✓', 'tab	here', 'todo', 2, NULL, NULL, 16, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:46:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (51, 5, NULL, 'Task 17 ✓', 'line one
line two', 'in_progress', 1, NULL, NULL, 17, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:47:00.123456+00');
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (55, 1, 'last', 'After the archive 🌱', NULL, 'todo', 4, '2026-12-24 17:00:00+00', NULL, 1, '2026-11-27 17:33:45.08019+00', '2026-11-27 17:33:45.08019+00');


--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.users OVERRIDING SYSTEM VALUE VALUES (1, 'ada@example.com', 'Ada', true, 1, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:30:00.123456+00');
INSERT INTO public.users OVERRIDING SYSTEM VALUE VALUES (2, 'bjorn@example.com', 'Björn Ångström', false, 3, '2026-11-20 08:30:00.123456+00', '2026-11-20 08:30:00.123457+00');
INSERT INTO public.users OVERRIDING SYSTEM VALUE VALUES (5, 'emoji@example.com', 'Zoë 🦊 ''quoted'' "double"', true, 2, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00');


--
-- Name: access_tokens_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.access_tokens_id_seq', 2, true);


--
-- Name: tasks_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.tasks_id_seq', 55, true);


--
-- Name: users_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.users_id_seq', 5, true);


--
-- Name: access_tokens access_tokens_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_name_key UNIQUE (name);


--
-- Name: access_tokens access_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_pkey PRIMARY KEY (id);


--
-- Name: access_tokens access_tokens_token_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_token_hash_key UNIQUE (token_hash);


--
-- Name: taskdb_alembic_version taskdb_alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.taskdb_alembic_version
    ADD CONSTRAINT taskdb_alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: tasks tasks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);


--
-- Name: tasks tasks_user_id_external_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_user_id_external_id_key UNIQUE (user_id, external_id);


--
-- Name: users users_email_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_key UNIQUE (email);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: tasks_created; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_created ON public.tasks USING btree (created_at, id);


--
-- Name: tasks_open_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_open_due ON public.tasks USING btree (due_at, id) WHERE (status = ANY (ARRAY['in_progress'::text, 'todo'::text]));


--
-- Name: tasks_user_created; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_user_created ON public.tasks USING btree (user_id, created_at, id);


--
-- Name: tasks_user_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_user_due ON public.tasks USING btree (user_id, due_at, id);


--
-- Name: tasks_user_priority; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_user_priority ON public.tasks USING btree (user_id, priority, id);


--
-- Name: tasks_user_status_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_user_status_due ON public.tasks USING btree (user_id, status, due_at, id);


--
-- Name: tasks_user_updated; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tasks_user_updated ON public.tasks USING btree (user_id, updated_at, id);


--
-- Name: access_tokens access_tokens_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.access_tokens
    ADD CONSTRAINT access_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- Name: tasks tasks_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


